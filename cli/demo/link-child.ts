/** The program of a link's child process: serves the requests of link-process.ts over IPC, one after the other. */

import { messageOf } from "../errors.ts";
import { type Link, startLink } from "./link-emulator.ts";
import type { LinkReply, LinkRequest } from "./link-process.ts";

let link: Link | undefined;
let last: Promise<void> = Promise.resolve();

process.on("message", (request: LinkRequest) => {
  last = last.then(async () => {
    const reply = await serve(request).catch(
      (error): LinkReply => ({ kind: "failed", message: messageOf(error) }),
    );
    if (process.connected) process.send?.(reply);
  });
});

// The parent is gone, or has no more use for the link. Whoever is connected sees a reset.
process.on("disconnect", () => process.exit(0));

// An interrupt from the terminal goes to all processes; the parent decides when the link may end.
process.on("SIGINT", () => {});

async function serve(request: LinkRequest): Promise<LinkReply> {
  if (request.kind === "start") {
    link = await startLink(request.options);
    return { kind: "started", host: link.host, port: link.port };
  }
  if (link === undefined) throw new Error("Cannot use the emulated link: it was not started");
  switch (request.kind) {
    case "stats":
      return { kind: "stats", stats: link.stats() };
    case "connections":
      return { kind: "connections", connections: link.connections() };
    case "reset":
      link.reset(request.id);
      break;
    case "setRate":
      link.setRate(request.rateBitsPerSecond);
      break;
    case "cut":
      link.cut(request.durationMs);
      break;
    case "restore":
      link.restore();
      break;
    case "close":
      await link.close();
  }
  return { kind: "done" };
}

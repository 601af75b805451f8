/**
 * An emulated link in a process of its own, so that it does not share the event loop with what is measured.
 *
 *     parent → child: LinkRequest, one at a time answered in order
 *     child → parent: LinkReply; the first one answers "start"
 *
 * The child exits when its parent goes away or disconnects.
 */

import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { OperationError } from "../errors.ts";
import type { LinkConnection, LinkOptions, LinkStats } from "./link-emulator.ts";

/** What the parent asks for. */
export type LinkRequest =
  | { readonly kind: "start"; readonly options: LinkOptions }
  | { readonly kind: "stats" }
  | { readonly kind: "connections" }
  | { readonly kind: "reset"; readonly id: number }
  | { readonly kind: "setRate"; readonly rateBitsPerSecond: number }
  | { readonly kind: "cut"; readonly durationMs?: number | undefined }
  | { readonly kind: "restore" }
  | { readonly kind: "close" };

/** What the child answers: one reply for each request, in the same order. */
export type LinkReply =
  | { readonly kind: "started"; readonly host: string; readonly port: number }
  | { readonly kind: "stats"; readonly stats: LinkStats }
  | { readonly kind: "connections"; readonly connections: readonly LinkConnection[] }
  | { readonly kind: "done" }
  | { readonly kind: "failed"; readonly message: string };

/** A link in a child process. The calls mean the same as those of `Link`, and reject with `OperationError`. */
export interface RemoteLink {
  readonly host: string;
  readonly port: number;
  stats(): Promise<LinkStats>;
  connections(): Promise<readonly LinkConnection[]>;
  reset(id: number): Promise<void>;
  setRate(rateBitsPerSecond: number): Promise<void>;
  cut(durationMs?: number): Promise<void>;
  restore(): Promise<void>;
  /** Resets all connections and ends the process. Calls after the first do nothing. */
  close(): Promise<void>;
}

/** Starts a child process with a link in it. Throws `OperationError` when the link cannot start there. */
export async function forkLink(options: LinkOptions): Promise<RemoteLink> {
  const process = new LinkProcess();
  try {
    const started = await process.request({ kind: "start", options }, "started");
    return {
      host: started.host,
      port: started.port,
      stats: async () => (await process.request({ kind: "stats" }, "stats")).stats,
      connections: async () => (await process.request({ kind: "connections" }, "connections")).connections,
      reset: async (id) => {
        await process.request({ kind: "reset", id }, "done");
      },
      setRate: async (rateBitsPerSecond) => {
        await process.request({ kind: "setRate", rateBitsPerSecond }, "done");
      },
      cut: async (durationMs) => {
        await process.request({ kind: "cut", durationMs }, "done");
      },
      restore: async () => {
        await process.request({ kind: "restore" }, "done");
      },
      close: () => process.close(),
    };
  } catch (error) {
    await process.close();
    throw error;
  }
}

interface Waiting {
  readonly resolve: (reply: LinkReply) => void;
  readonly reject: (error: Error) => void;
}

type ReplyOf<Kind extends LinkReply["kind"]> = Extract<LinkReply, { kind: Kind }>;

class LinkProcess {
  readonly #child: ChildProcess;
  readonly #exited: Promise<unknown>;
  readonly #waiting: Waiting[] = [];
  #ended: OperationError | undefined;

  constructor() {
    // The child lies beside this file, as .ts in the sources and as .js when compiled.
    const path = fileURLToPath(import.meta.url).replace(/link-process(?=\.[jt]s$)/, "link-child");
    this.#child = fork(path, [], { stdio: ["ignore", "ignore", "inherit", "ipc"] });
    this.#exited = once(this.#child, "exit");
    // A child that cannot even start reports an error and no exit.
    this.#exited.catch(() => {});
    this.#child.on("message", (reply: LinkReply) => this.#waiting.shift()?.resolve(reply));
    this.#child.on("error", (error) => this.#end(error.message));
    this.#child.on("exit", (code, signal) => this.#end(`its process exited with ${signal ?? code}`));
  }

  async request<Kind extends LinkReply["kind"]>(request: LinkRequest, kind: Kind): Promise<ReplyOf<Kind>> {
    if (this.#ended !== undefined) throw this.#ended;
    const reply = await new Promise<LinkReply>((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#child.send(request);
    });
    if (reply.kind === "failed") throw new OperationError("failed", reply.message);
    if (reply.kind !== kind) {
      throw new OperationError("failed", `The emulated link answered ${reply.kind} instead of ${kind}`);
    }
    return reply as ReplyOf<Kind>;
  }

  async close(): Promise<void> {
    if (this.#ended !== undefined) return;
    await this.request({ kind: "close" }, "done").catch(() => {});
    if (this.#child.connected) this.#child.disconnect();
    await this.#exited.catch(() => {});
  }

  #end(reason: string): void {
    this.#ended ??= new OperationError("failed", `The emulated link ended: ${reason}`);
    for (const { reject } of this.#waiting.splice(0)) reject(this.#ended);
  }
}

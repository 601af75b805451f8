/** A server on a Unix socket that says what an input tells it to, whatever the client says. */

import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { join } from "node:path";
import { concatBytes } from "../../../src/bytes.ts";
import { workFolder } from "./work-folder.ts";

/** After so long without a word of the client the server goes on by itself, in milliseconds. */
const patienceMs = 2;
/** Most parts of an input. */
const partsMax = 40;

/** The server; `script` is what it says to the next client: a part at each word of that client, then the end. */
export class HostileServer {
  readonly socketPath = join(workFolder(), "s");
  script: readonly Uint8Array[] = [];
  readonly #server = createServer((socket) => this.#serve(socket));

  async listen(): Promise<void> {
    this.#server.listen(this.socketPath);
    await once(this.#server, "listening");
    this.#server.unref();
  }

  #serve(socket: Socket): void {
    const parts = [...this.script];
    let timer: NodeJS.Timeout | undefined;
    const next = () => {
      clearTimeout(timer);
      const part = parts.shift();
      if (part === undefined) {
        socket.end();
        return;
      }
      socket.write(part);
      timer = setTimeout(next, patienceMs);
    };
    socket.on("data", next);
    socket.on("error", () => {});
    socket.on("close", () => clearTimeout(timer));
    next();
  }
}

/** An input: for each part its length in two bytes, then the part. */
export function joinScript(parts: readonly Uint8Array[]): Uint8Array {
  return concatBytes(parts.flatMap((part) => [Uint8Array.of(part.length >> 8, part.length & 0xff), part]));
}

/** The parts of any input. */
export function splitScript(input: Uint8Array): Uint8Array[] {
  const parts: Uint8Array[] = [];
  for (let at = 0; at + 2 <= input.length && parts.length < partsMax; ) {
    const end = at + 2 + (input[at] << 8) + input[at + 1];
    parts.push(input.slice(at + 2, end));
    at = end;
  }
  return parts;
}

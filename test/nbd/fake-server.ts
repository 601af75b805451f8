/** A server that a test plays: it opens one export by the book, then says what the test wants. */

import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { join } from "node:path";
import { concatBytes } from "../../src/bytes.ts";
import { type Teardown, temporaryFolder } from "../qemu/qemu-fixture.ts";
import { ack, exportInfo, GREETING, OptionCode } from "./wire.ts";

const REQUEST_BYTES = 28;

/** The head of a request. */
export interface SeenRequest {
  readonly command: number;
  readonly cookie: number;
  readonly offset: number;
  readonly lengthBytes: number;
}

/** The server's end of one connection. */
export class ServerEnd {
  readonly socket: Socket;
  #kept: Uint8Array = new Uint8Array(0);
  #wake: () => void = () => {};

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on("data", (bytes) => {
      this.#kept = concatBytes([this.#kept, bytes]);
      this.#wake();
    });
    socket.on("error", () => {});
  }

  send(...parts: Uint8Array[]): void {
    this.socket.write(concatBytes(parts));
  }

  async take(lengthBytes: number): Promise<Uint8Array> {
    while (this.#kept.length < lengthBytes) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    const bytes = this.#kept.slice(0, lengthBytes);
    this.#kept = this.#kept.subarray(lengthBytes);
    return bytes;
  }

  /** The next request; the data of a write are left to be taken. */
  async request(): Promise<SeenRequest> {
    const bytes = await this.take(REQUEST_BYTES);
    const view = new DataView(bytes.buffer);
    return {
      command: view.getUint16(6),
      cookie: Number(view.getBigUint64(8)),
      offset: Number(view.getBigUint64(16)),
      lengthBytes: view.getUint32(24),
    };
  }

  /** The handshake for an export of that size, without contexts and with a name of five characters. */
  async open(sizeBytes: number, flags?: number): Promise<void> {
    this.send(GREETING);
    await this.take(4 + 16);
    this.send(ack(OptionCode.structuredReply));
    await this.take(16 + 4 + "disk0".length + 4);
    this.send(exportInfo(sizeBytes, flags), ack(OptionCode.go));
  }
}

/** Listens for one connection. `end` resolves when it has come. */
export async function listen(test: Teardown): Promise<{ socketPath: string; end: Promise<ServerEnd> }> {
  const socketPath = join(await temporaryFolder(test), "nbd.sock");
  const server = createServer();
  const end = new Promise<ServerEnd>((resolve) => {
    server.on("connection", (socket) => {
      test.teardown(() => socket.destroy());
      resolve(new ServerEnd(socket));
    });
  });
  server.listen(socketPath);
  await once(server, "listening");
  test.teardown(() => server.close());
  return { socketPath, end };
}

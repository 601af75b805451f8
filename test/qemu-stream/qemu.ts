/** Real QEMU processes for tests: start, QMP, capture of an outgoing stream, feeding an incoming one. */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { QemuStreamDecoder } from "../../src/qemu-stream/index.ts";
import { testQemu } from "../qemu/test-qemu.ts";

/** A multiple of 8 KiB and not of 256 KiB: see the bug of QEMU 7.2 under TCG with aligned sizes. */
const MEMORY_KIB = 32760;
export const MEMORY_BYTES = MEMORY_KIB * 1024;

const SHUT_OK = Uint8Array.of(0, 1, 0, 4, 0, 0, 0, 0);
const PONG = Uint8Array.of(0, 2, 0, 4, 0, 0, 0, 1);

export class Qemu {
  readonly process: ChildProcess;
  readonly #socket: Socket;
  readonly #waiting: { resolve(value: unknown): void; reject(error: Error): void }[] = [];
  /** Major version from the greeting. */
  major = 0;

  private constructor(child: ChildProcess, socket: Socket) {
    this.process = child;
    this.#socket = socket;
  }

  /** Starts a guest without disks and waits until QMP answers. */
  static async start(folder: string, name: string, machine: string, args: string[] = []): Promise<Qemu> {
    const qmp = `${folder}/${name}.qmp`;
    const common = [
      "-accel",
      "tcg",
      "-display",
      "none",
      "-nodefaults",
      "-vga",
      "std",
      "-m",
      `${MEMORY_KIB}K`,
    ];
    const child = spawn(
      testQemu,
      [...common, "-machine", machine, "-qmp", `unix:${qmp},server=on,wait=off`, ...args],
      { stdio: ["ignore", "ignore", "inherit"] },
    );
    const qemu = new Qemu(child, await connectRetrying(qmp, child));
    await qemu.#negotiate();
    return qemu;
  }

  execute(command: string, args: object = {}): Promise<unknown> {
    this.#socket.write(`${JSON.stringify({ execute: command, arguments: args })}\n`);
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  /** Waits for one of these states of a migration. */
  async migrationStatus(...wanted: string[]): Promise<string> {
    for (;;) {
      const { status } = (await this.execute("query-migrate")) as { status?: string };
      if (status !== undefined && wanted.includes(status)) return status;
      if (status === "failed") throw new Error("migration failed");
      await sleep(20);
    }
  }

  /** Guest-physical memory from 0, by way of a file. */
  async saveMemory(path: string): Promise<void> {
    await this.execute("pmemsave", { val: 0, size: MEMORY_BYTES, filename: path });
  }

  async stop(): Promise<void> {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    const exited = once(this.process, "exit");
    this.#socket.destroy();
    this.process.kill("SIGKILL");
    await exited;
  }

  async #negotiate(): Promise<void> {
    const greeting = new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
    createInterface({ input: this.#socket }).on("line", (line) => {
      const message = JSON.parse(line);
      if (message.event !== undefined) return;
      const { resolve, reject } = this.#waiting.shift()!;
      if (message.error) reject(new Error(`${message.error.class}: ${message.error.desc}`));
      else resolve(message.QMP ?? message.return);
    });
    this.major = ((await greeting) as { version: { qemu: { major: number } } }).version.qemu.major;
    await this.execute("qmp_capabilities");
  }
}

async function connectRetrying(path: string, child: ChildProcess): Promise<Socket> {
  for (;;) {
    const socket = connect(path);
    try {
      await once(socket, "connect");
      return socket;
    } catch {
      if (child.exitCode !== null) throw new Error(`QEMU exited with ${child.exitCode}`);
      await sleep(20);
    }
  }
}

/**
 * Migrates a guest into memory and returns the stream. With "return-path" this side answers as a destination
 * does: the stream's end is then known only by the decoder, since the socket stays open.
 */
export async function captureStream(
  qemu: Qemu,
  socketPath: string,
  capabilities: string[],
): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  const decoder = new QemuStreamDecoder({});
  const answers = capabilities.includes("return-path");
  const server = createServer((socket) => {
    socket.on("data", (chunk) => {
      chunks.push(chunk);
      decoder.push(chunk);
      if (answers && decoder.state === "done") socket.write(SHUT_OK);
    });
    if (answers) socket.write(PONG);
  });
  server.listen(socketPath);
  await once(server, "listening");
  try {
    await qemu.execute("migrate-set-capabilities", {
      capabilities: capabilities.map((capability) => ({ capability, state: true })),
    });
    await qemu.execute("migrate-set-parameters", { "max-bandwidth": 10_000_000_000 });
    await qemu.execute("migrate", { uri: `unix:${socketPath}` });
    if ((await qemu.migrationStatus("completed", "pre-switchover")) === "pre-switchover") {
      await qemu.execute("migrate-continue", { state: "pre-switchover" });
      await qemu.migrationStatus("completed");
    }
    while (decoder.state !== "done") await sleep(5);
    return Buffer.concat(chunks);
  } finally {
    server.close();
  }
}

/** Sends a stream to a QEMU that was started with `-incoming defer`, and waits until it has loaded it. */
export async function feedStream(qemu: Qemu, socketPath: string, stream: Uint8Array): Promise<void> {
  await qemu.execute("migrate-incoming", { uri: `unix:${socketPath}` });
  const socket = connect(socketPath);
  await once(socket, "connect");
  socket.end(stream);
  await qemu.migrationStatus("completed");
}

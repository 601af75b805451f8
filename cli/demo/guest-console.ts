/**
 * Talks to the demo's guest over its serial port, and reads its state words from outside.
 *
 *     client → guest: "?" | "p" | "g" | ("z" | "f" | "w" | "i") first-page:u32 page-count:u32
 *     guest → client: "R" after boot and for "?", the command's capital letter when it is done,
 *                     "!" for an unknown command, "." every 100 ticks
 *
 * QEMU: `-serial unix:PATH,server=on,wait=off`. What the guest says while nobody is connected is lost, so
 * `ready` asks instead of listening.
 */

import { connect, type Socket } from "node:net";
import { OperationError } from "../errors.ts";
import type { QmpClient } from "../qemu/qmp-client.ts";
import { checkSocketPath } from "../qemu/unix-socket.ts";
import { counterAddress } from "./guest.ts";

/** How long a command may take, when the caller does not say, in milliseconds. */
const DEFAULT_TIMEOUT_MS = 60_000;

/** Limits of `GuestConsole` calls. */
export interface GuestConsoleOptions {
  readonly timeoutMs?: number;
}

interface Waiting {
  readonly answer: string;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/**
 * A connection to the guest's serial port. Commands are sent one after the other, whoever calls.
 *
 *     const guest = await GuestConsole.connect("/run/vm/serial.sock");
 *     await guest.ready();
 *     await guest.pause();
 */
export class GuestConsole {
  readonly #socket: Socket;
  readonly #timeoutMs: number;
  #waiting: Waiting | undefined;
  #last: Promise<unknown> = Promise.resolve();
  #ended: Error | undefined;
  #dots = 0;

  private constructor(socket: Socket, timeoutMs: number) {
    this.#socket = socket;
    this.#timeoutMs = timeoutMs;
    socket.on("data", (chunk) => this.#take(chunk));
    socket.on("error", (error) => this.#end(error.message));
    socket.on("close", () => this.#end("QEMU closed it"));
  }

  /** Connects. Throws `OperationError` when nobody listens at the path. `timeoutMs` holds for each command. */
  static async connect(path: string, options: GuestConsoleOptions = {}): Promise<GuestConsole> {
    checkSocketPath(path);
    const socket = connect(path);
    await new Promise<void>((resolve, reject) => {
      socket.once("connect", resolve);
      socket.once("error", (error) => {
        reject(
          new OperationError("failed", `Cannot connect to the guest's serial port ${path}: ${error.message}`),
        );
      });
    });
    return new GuestConsole(socket, options.timeoutMs ?? DEFAULT_TIMEOUT_MS);
  }

  /** How many '.' have come: one for every 100 ticks while connected. */
  get dots(): number {
    return this.#dots;
  }

  /** Resolves when the guest has filled its memory and takes commands. */
  ready(): Promise<void> {
    return this.#command("?", "R");
  }

  /** Stops dirtying. Ticks are counted on. */
  pause(): Promise<void> {
    return this.#command("p", "P");
  }

  /** Dirties again. */
  go(): Promise<void> {
    return this.#command("g", "G");
  }

  /** Fills pages with zeros. */
  zero(firstPage: number, pageCount: number): Promise<void> {
    return this.#command("z", "Z", firstPage, pageCount);
  }

  /** Gives pages the content that they had after boot. */
  refill(firstPage: number, pageCount: number): Promise<void> {
    return this.#command("f", "F", firstPage, pageCount);
  }

  /** Gives pages new content, different each time; the seed for `fillPage` is then at `rewriteSeedAddress`. */
  rewrite(firstPage: number, pageCount: number): Promise<void> {
    return this.#command("w", "W", firstPage, pageCount);
  }

  /** Adds one to one word of each page. */
  increment(firstPage: number, pageCount: number): Promise<void> {
    return this.#command("i", "I", firstPage, pageCount);
  }

  /** Disconnects. The guest runs on. */
  close(): void {
    this.#end("it was closed here");
  }

  #command(letter: string, answer: string, ...words: number[]): Promise<void> {
    const bytes = Buffer.alloc(1 + 4 * words.length, letter, "latin1");
    words.forEach((word, index) => {
      bytes.writeUInt32LE(word, 1 + 4 * index);
    });
    const done = this.#last.then(() => this.#exchange(bytes, answer));
    this.#last = done.catch(() => {});
    return done;
  }

  async #exchange(bytes: Uint8Array, answer: string): Promise<void> {
    if (this.#ended !== undefined) throw this.#ended;
    let timer: NodeJS.Timeout | undefined;
    try {
      await new Promise<void>((resolve, reject) => {
        this.#waiting = { answer, resolve, reject };
        // A late answer would be taken for that of the next command, so a timeout ends the connection.
        timer = setTimeout(() => this.#end(`no answer within ${this.#timeoutMs} ms`), this.#timeoutMs);
        this.#socket.write(bytes);
      });
    } finally {
      clearTimeout(timer);
      this.#waiting = undefined;
    }
  }

  #take(chunk: Uint8Array): void {
    for (const byte of chunk) {
      const letter = String.fromCharCode(byte);
      if (letter === ".") this.#dots++;
      else if (letter === this.#waiting?.answer) this.#waiting.resolve();
      else if (letter === "!") this.#end("the guest does not know the command");
    }
  }

  #end(reason: string): void {
    if (this.#ended !== undefined) return;
    this.#ended = new OperationError("failed", `The guest's serial connection ended: ${reason}`);
    this.#waiting?.reject(this.#ended);
    this.#socket.destroy();
  }
}

/** Reads the guest's tick counter through QMP; also works while the VM is stopped. */
export function readCounter(qmp: QmpClient): Promise<number> {
  return readWord(qmp, counterAddress);
}

/** Reads 32 bits of guest-physical memory. Throws `OperationError` when QEMU's answer is not understood. */
export async function readWord(qmp: QmpClient, address: number): Promise<number> {
  const text = await qmp.execute<string>("human-monitor-command", {
    "command-line": `xp /1wx 0x${address.toString(16)}`,
  });
  const match = /:\s*0x([0-9a-f]{8})\s*$/.exec(text);
  if (match?.[1] === undefined) {
    throw new OperationError("failed", `Cannot read guest memory: QEMU answered ${text.trim()}`);
  }
  return Number.parseInt(match[1], 16);
}

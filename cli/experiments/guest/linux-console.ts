/**
 * Commands for the Linux guest over its serial port; what commands there are is told in the guest's init script.
 *
 * What the guest says while nobody is connected is lost, and a migration loses what is under way in the sockets,
 * in both directions. So an unanswered command is sent again: after every reconnection, when the guest says that it
 * has just booted, and from time to time. The guest does it once only, since it knows its id.
 */

import { randomBytes } from "node:crypto";
import { connect, type Socket } from "node:net";
import { createInterface } from "node:readline";
import { type Deferred, deferred } from "../../qemu/deferred.ts";
import { checkSocketPath } from "../../qemu/unix-socket.ts";

/** How long a command may take, when the caller does not say: only a test that fails waits so long. */
const COMMAND_TIMEOUT_MS = 60_000;
const BOOT_TIMEOUT_MS = 120_000;
const REPEAT_MS = 2_000;
/** How much of what the guest said is kept for the messages of errors, in lines. */
const KEPT_LINES = 40;

interface Pending {
  readonly id: string;
  readonly line: string;
  readonly answer: Deferred<string>;
}

/**
 * A connection to the guest's serial port. Commands are sent one after the other, whoever calls. QEMU serves one
 * connection at a time: close the old one before a new one is made to the same QEMU.
 *
 *     const guest = await LinuxConsole.connect(sourcePath);
 *     await guest.ready();
 *     await guest.command("write a 1024 7");
 *     // after a migration
 *     await guest.reconnect(destinationPath);
 *     await guest.command("sum a");
 */
export class LinuxConsole {
  #socket: Socket;
  #pending: Pending | undefined;
  #last: Promise<unknown> = Promise.resolve();
  #failure: Error | undefined;
  readonly #heard: string[] = [];
  /** Other than that of any console before: the guest remembers the last id. */
  readonly #name = randomBytes(4).toString("hex");
  #count = 0;

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.#listen();
  }

  /** Connects. Rejects when nobody listens at the path. */
  static async connect(path: string): Promise<LinuxConsole> {
    return new LinuxConsole(await openSocket(path));
  }

  /** Goes on at another QEMU. A command that waits for its answer gets it from there. */
  async reconnect(path: string): Promise<void> {
    this.#socket.destroy();
    this.#socket = await openSocket(path);
    this.#listen();
    this.#send();
  }

  /** Returns when the guest obeys commands: after its boot, or at once when it has booted long ago. */
  async ready(timeoutMs = BOOT_TIMEOUT_MS): Promise<void> {
    await this.command("ping", timeoutMs);
  }

  /**
   * Has the guest do something and gives back its answer, which may be empty. Rejects when the guest cannot do it,
   * has panicked, or does not answer in time. The end of a connection is no failure: it may be made again.
   */
  async command(line: string, timeoutMs = COMMAND_TIMEOUT_MS): Promise<string> {
    const turn = this.#last.then(() => this.#ask(line, timeoutMs));
    this.#last = turn.catch(() => {});
    return await turn;
  }

  /** Ends the connection; a command that still waits is rejected. */
  close(): void {
    this.#fail("this end closed it");
    this.#socket.destroy();
  }

  async #ask(line: string, timeoutMs: number): Promise<string> {
    if (this.#failure !== undefined) throw this.#failure;
    const answer = deferred<string>();
    this.#pending = { id: `@${this.#name}.${++this.#count}`, line, answer };
    this.#send();
    const repeat = setInterval(() => this.#send(), REPEAT_MS);
    const late = setTimeout(
      () => answer.reject(this.#error(line, `no answer in ${timeoutMs} ms`)),
      timeoutMs,
    );
    try {
      return await answer.promise;
    } finally {
      clearInterval(repeat);
      clearTimeout(late);
      this.#pending = undefined;
    }
  }

  /** The line end in front ends a line that was cut off. */
  #send(): void {
    if (this.#pending === undefined || this.#socket.destroyed) return;
    this.#socket.write(`\n${this.#pending.id} ${this.#pending.line} ;\n`);
  }

  #listen(): void {
    const socket = this.#socket;
    socket.on("error", (error) => this.#hear(`(${error.message})`));
    createInterface({ input: socket }).on("line", (line) => {
      if (socket === this.#socket) this.#take(line);
    });
  }

  #take(line: string): void {
    this.#hear(line);
    if (line.includes("Kernel panic")) this.#fail("the kernel panicked");
    if (line === "BFMIG READY") this.#send();
    const pending = this.#pending;
    const [id, result, ...words] = line.split(" ");
    if (pending === undefined || id !== pending.id) return;
    const text = words.join(" ").trim();
    if (result === "OK") pending.answer.resolve(text);
    else if (result === "ERR") pending.answer.reject(failure(pending.line, text));
  }

  #hear(line: string): void {
    this.#heard.push(line);
    if (this.#heard.length > KEPT_LINES) this.#heard.shift();
  }

  #fail(reason: string): void {
    this.#failure ??= this.#error(this.#pending?.line ?? "next", reason);
    this.#pending?.answer.reject(this.#failure);
  }

  /** For what the guest has not told itself. */
  #error(line: string, reason: string): Error {
    const connection = this.#socket.destroyed ? " (not connected)" : "";
    return failure(line, `${reason}${connection}; its console said\n${this.#heard.join("\n")}`);
  }
}

function failure(line: string, reason: string): Error {
  return new Error(`The guest's command ${JSON.stringify(line)} failed: ${reason}`);
}

async function openSocket(path: string): Promise<Socket> {
  checkSocketPath(path);
  const socket = connect(path);
  await new Promise<void>((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("error", reject);
  });
  return socket;
}

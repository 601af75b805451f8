/** Has the guest of a session do what the experiment says: boots it, ages it, starts its workload, sees that it works. */

import { setTimeout as sleep } from "node:timers/promises";
import { messageOf, OperationError } from "../errors.ts";
import { LinuxConsole } from "./guest/linux-console.ts";
import type { Experiment, Workload } from "./plan.ts";

const bootTimeoutMs = 300_000;
const startTimeoutMs = 600_000;
const workTimeoutMs = 300_000;
const pollMs = 500;
/** An aged guest has at least so much of its memory not zero. */
const agedShare = 0.8;

/** A guest that runs, wherever it is now. */
export class GuestDriver {
  private readonly console: LinuxConsole;
  private readonly experiment: Experiment;
  private readonly onAbort: () => void;
  private readonly signal: AbortSignal;

  private constructor(console: LinuxConsole, experiment: Experiment, signal: AbortSignal) {
    this.console = console;
    this.experiment = experiment;
    this.signal = signal;
    // A command that waits for its answer is rejected then.
    this.onAbort = () => console.close();
    signal.addEventListener("abort", this.onAbort, { once: true });
  }

  /** Connects to a guest that boots, and waits until it obeys. Throws OperationError when it does not boot. */
  static async boot(
    consolePath: string,
    experiment: Experiment,
    tell: (text: string) => void,
    signal: AbortSignal,
  ): Promise<GuestDriver> {
    signal.throwIfAborted();
    tell("the guest boots");
    const driver = new GuestDriver(await LinuxConsole.connect(consolePath), experiment, signal);
    try {
      await driver.ask("boot", () => driver.console.ready(bootTimeoutMs));
    } catch (error) {
      driver.close();
      throw error;
    }
    return driver;
  }

  /** Ages it if that is wanted, and starts its workload. Resolves when that has done something. */
  async prepare(tell: (text: string) => void): Promise<void> {
    const { workload, age } = this.experiment;
    if (age === "aged") {
      tell("its page cache is filled");
      await this.command("warm", startTimeoutMs);
    }
    if (workload === "idle") return;
    tell(`${workload} starts`);
    await this.command(["start", workload, ...argumentsOf(this.experiment)].join(" "), startTimeoutMs);
    await this.worked();
  }

  /** Has it make the database on its disk. */
  async makeDatabase(scale: number): Promise<void> {
    await this.command(`prepare ${scale}`, startTimeoutMs);
  }

  /** Waits until it has done more than now. Throws OperationError when it does nothing. */
  async worked(): Promise<void> {
    const { workload } = this.experiment;
    if (workload === "idle") return;
    const deadline = Date.now() + workTimeoutMs;
    const before = Number(await this.command("work"));
    while (Number(await this.command("work")) <= before) {
      if (Date.now() > deadline) {
        throw new OperationError("failed", `Cannot use the guest: its workload ${workload} stands still`);
      }
      await sleep(pollMs, undefined, { signal: this.signal });
    }
  }

  /** It has come to another QEMU. */
  async follow(consolePath: string): Promise<void> {
    await this.console.reconnect(consolePath);
  }

  /** Disconnects; the guest runs on. */
  close(): void {
    this.signal.removeEventListener("abort", this.onAbort);
    this.console.close();
  }

  private async command(line: string, timeoutMs?: number): Promise<string> {
    return await this.ask(line, () => this.console.command(line, timeoutMs));
  }

  private async ask<T>(what: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      this.signal.throwIfAborted();
      const [verb] = what.split(" ");
      const { workload } = this.experiment;
      throw new OperationError(
        "failed",
        `Cannot use the guest for ${workload}, it fails at "${verb}": ${messageOf(error)}`,
        { cause: error },
      );
    }
  }
}

/** Throws OperationError if a guest that should be aged is not. */
export function checkAge(age: Experiment["age"], nonZeroShare: number): void {
  if (age === "fresh" || nonZeroShare >= agedShare) return;
  const percent = (share: number) => `${Math.round(100 * share)} %`;
  throw new OperationError(
    "failed",
    `Cannot age the guest: ${percent(nonZeroShare)} of its memory is not zero after it has read all its files, ` +
      `${percent(agedShare)} is needed; the disk with the programs is too small for this memory`,
  );
}

/** What `start` needs beside the name: so much that it keeps the guest busy, yet does not fill it. */
function argumentsOf({ workload, memoryMiB, dirtyPagesPerSecond }: Experiment): (string | number)[] {
  const loads: Readonly<Record<Workload, () => (string | number)[]>> = {
    idle: () => [],
    // Keys of about 600 bytes, and sets a second.
    redis: () => [memoryMiB * 100, 200],
    web: () => [],
    compile: () => [],
    // Transactions a second.
    postgres: () => [20],
    // A working set of an eighth of the memory.
    dirtier: () => [dirtyPagesPerSecond ?? 0, memoryMiB / 8],
  };
  return loads[workload]();
}

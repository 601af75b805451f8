/**
 * The guest's heartbeat as the host hears it: the guest counts on a serial port each 5 ms, wherever it runs. The longest
 * time between two of its counts is how long it stood still for whoever talks to it.
 */

import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { OperationError } from "../errors.ts";

const retryMs = 10;
const beatTimeoutMs = 60_000;

/** Listens at all places where the guest may come to. */
export class Heartbeat {
  private readonly ending = new AbortController();
  private readonly loops: Promise<void>[] = [];
  private readonly heardAtMs = new Map<string, number>();
  private lastAtMs = 0;
  private longestMs = 0;

  /** Listens at one more socket, which need not be there yet, and may go and come again. */
  follow(path: string): void {
    this.loops.push(this.listen(path));
  }

  /** Begins to measure anew, once a count has come from the place. */
  async begin(path: string): Promise<void> {
    await this.heard(path);
    this.longestMs = 0;
  }

  /** Waits for a count from the place. The longest time between two counts since `begin`, in milliseconds. */
  async end(path: string): Promise<number> {
    await this.heard(path);
    return this.longestMs;
  }

  /** Ends all connections. */
  async close(): Promise<void> {
    this.ending.abort();
    await Promise.all(this.loops);
  }

  /** Waits for one that comes after now. */
  private async heard(path: string): Promise<void> {
    const sinceMs = performance.now();
    while ((this.heardAtMs.get(path) ?? 0) <= sinceMs) {
      this.ending.signal.throwIfAborted();
      if (performance.now() - sinceMs > beatTimeoutMs) {
        throw new OperationError("failed", `The guest's heart does not beat: nothing comes from ${path}`);
      }
      await sleep(retryMs);
    }
  }

  private async listen(path: string): Promise<void> {
    const { signal } = this.ending;
    while (!signal.aborted) {
      const socket = connect(path);
      const end = () => socket.destroy();
      signal.addEventListener("abort", end, { once: true });
      socket.on("data", (data) => {
        if (data.includes("\n")) this.beat(path);
      });
      await closed(socket);
      signal.removeEventListener("abort", end);
      await sleep(retryMs);
    }
  }

  private beat(path: string): void {
    const nowMs = performance.now();
    this.longestMs = Math.max(this.longestMs, nowMs - this.lastAtMs);
    this.lastAtMs = nowMs;
    this.heardAtMs.set(path, nowMs);
  }
}

/** Errors end it as well as the other end does. */
async function closed(socket: Socket): Promise<void> {
  socket.on("error", () => {});
  await new Promise<void>((resolve) => socket.once("close", () => resolve()));
}

/**
 * When which copy of the VM ran, as QEMU itself says: each site's QEMU has a second monitor beside the agent's, which
 * is connected to as soon as it exists. STOP and RESUME carry the time of one clock, so copies that ran at the
 * same time are found even when the two events come late.
 */

import { setTimeout as sleep } from "node:timers/promises";
import { isRunning, QmpClient } from "../qemu/qmp-client.ts";

/** Something that happened to one QEMU process. */
export interface RunEvent {
  readonly site: string;
  /** Counts the QEMU processes of all sites. */
  readonly process: number;
  readonly what: "run" | "stop" | "gone";
  readonly atMs: number;
}

const retryMs = 10;
const connectTimeoutMs = 60_000;

/** QEMU's arguments for the second monitor of a site. Give this to the testbed as `moreArguments`. */
export function monitorArguments(site: string, socketFolder: string): string[] {
  return ["-qmp", `unix:${monitorPath(site, socketFolder)},server=on,wait=off`];
}

/** Socket of a site's second monitor. */
export function monitorPath(site: string, socketFolder: string): string {
  return `${socketFolder}/${site}.bench`;
}

/** The source's last stop before the VM ran at the destination, and when it first ran there. Null: not yet seen. */
export function switchoverOf(
  events: readonly { readonly site: string; readonly what: string; readonly atMs: number }[],
  from: string,
  to: string,
): { readonly stopAtMs: number; readonly runAtMs: number } | null {
  const run = events.find(({ site, what }) => site === to && what === "run");
  if (run === undefined) return null;
  const stops = events.filter(({ site, what, atMs }) => site === from && what === "stop" && atMs <= run.atMs);
  const stop = stops.at(-1);
  return stop === undefined ? null : { stopAtMs: stop.atMs, runAtMs: run.atMs };
}

/** Watches the monitors of all sites. */
export class RunLog {
  readonly events: RunEvent[] = [];
  private readonly connected = new Map<string, QmpClient>();
  private readonly loops: Promise<void>[] = [];
  private readonly ending = new AbortController();
  private processes = 0;

  constructor(sites: Readonly<Record<string, string>>) {
    for (const [site, path] of Object.entries(sites)) this.loops.push(this.follow(site, path));
  }

  /** The monitor of a site's QEMU, null while there is none. */
  monitor(site: string): QmpClient | null {
    return this.connected.get(site) ?? null;
  }

  /** Times at which two copies ran; empty if all is well. */
  overlaps(): string[] {
    const running = new Map<number, RunEvent>();
    const found: string[] = [];
    for (const event of [...this.events].sort((a, b) => a.atMs - b.atMs)) {
      if (event.what !== "run") {
        running.delete(event.process);
        continue;
      }
      for (const other of running.values()) {
        if (other.process === event.process) continue;
        found.push(`${event.site} began to run at ${event.atMs} while ${other.site} ran since ${other.atMs}`);
      }
      running.set(event.process, event);
    }
    return found;
  }

  async close(): Promise<void> {
    this.ending.abort();
    for (const qmp of this.connected.values()) qmp.close();
    await Promise.all(this.loops);
  }

  private async follow(site: string, path: string): Promise<void> {
    const { signal } = this.ending;
    while (!signal.aborted) {
      try {
        const qmp = await QmpClient.connect(path, { timeoutMs: connectTimeoutMs, signal });
        await this.watch(site, qmp);
      } catch {
        // No QEMU there now, or it ended just then.
      }
      await sleep(retryMs);
    }
  }

  private async watch(site: string, qmp: QmpClient): Promise<void> {
    const process = ++this.processes;
    const note = (what: RunEvent["what"], atMs: number) => this.events.push({ site, process, what, atMs });
    qmp.onEvent(({ name, timestampMs }) => {
      if (name === "RESUME") note("run", timestampMs);
      if (name === "STOP") note("stop", timestampMs);
    });
    this.connected.set(site, qmp);
    try {
      // Events that came before the listener was there show in the state.
      if (await isRunning(qmp)) note("run", Date.now());
      await qmp.closed;
    } finally {
      this.connected.delete(site);
      note("gone", Date.now());
      qmp.close();
    }
  }
}

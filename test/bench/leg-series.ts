/**
 * Legs of ours with one guest over one link: the first one, then return legs there and back, before each of which
 * something is rewritten.
 */

import type { MigrateDone } from "../../cli/agent/migrate.ts";
import { guestName, type Testbed } from "../../cli/demo/testbed.ts";
import { messageOf } from "../../cli/errors.ts";
import { monitorPath, RunLog, switchoverOf } from "../../cli/experiments/run-log.ts";
import { findRecord } from "../../cli/qemu/process-record.ts";
import { waitFor } from "../integration/wait-for.ts";
import { orAborted } from "./abortable.ts";
import { downtimeLimitMs, type OwnMode } from "./matrix-cells.ts";
import { cpuSeconds, peakResidentBytes, untilQuiet } from "./measure.ts";
import type { Measured } from "./measured.ts";
import { CpuWatch, idleCpuShare, peakBesideGuest, resetPeak } from "./process-costs.ts";
import { cpuBeside, sumOf } from "./qemu-series.ts";

/** One leg of a series. */
export interface SeriesLeg {
  /** Changes the guest's memory where it runs; its serial port is at the path. */
  readonly prepare: ((consolePath: string) => Promise<void>) | null;
  readonly onRun: () => void;
  readonly onResult: (measured: Measured) => void;
}

/** What a series needs from who runs it. */
export interface LegSeries {
  /** Made with `monitorArguments`. */
  readonly testbed: Testbed;
  /** How return legs must begin. */
  readonly mode: OwnMode;
  readonly legs: readonly SeriesLeg[];
  /** Waits until the guest, whose serial port is at the path, has booted. */
  readonly booted: (consolePath: string) => Promise<void>;
  readonly signal: AbortSignal;
}

const sites = ["a", "b"] as const;

/** Runs it. Throws OperationError, or the signal's reason. */
export async function runLegSeries(series: LegSeries): Promise<void> {
  const { testbed, signal } = series;
  const runs = new RunLog(
    Object.fromEntries(sites.map((site) => [site, monitorPath(site, testbed.socketFolder)])),
  );
  try {
    await testbed.startSites();
    await testbed.site("a").ask("start", { vm: guestName });
    await orAborted(series.booted(testbed.consolePath("a")), signal);
    let [from, to]: readonly [string, string] = sites;
    for (const [i, leg] of series.legs.entries()) {
      signal.throwIfAborted();
      if (leg.prepare) await orAborted(leg.prepare(testbed.consolePath(from)), signal);
      if (i > 0 && series.mode !== "scan") await orAborted(untilLive(testbed, from, series.mode), signal);
      await orAborted(agentsQuiet(testbed), signal);
      leg.onRun();
      leg.onResult(await measure(testbed, runs, from, to, signal));
      [from, to] = [to, from];
    }
  } finally {
    await runs.close();
  }
}

async function measure(
  testbed: Testbed,
  runs: RunLog,
  from: string,
  to: string,
  signal: AbortSignal,
): Promise<Measured> {
  const agents = sites.map((site) => testbed.site(site).pid);
  const sourcePid = await qemuPid(testbed, from);
  const idleShare = await idleCpuShare(sourcePid);
  const sourceMemory = peakBesideGuest(sourcePid);
  for (const pid of agents) resetPeak(pid);
  const agentsBefore = totalCpu(agents);
  const wireBefore = await wireBytes(testbed);
  const eventsBefore = runs.events.length;
  const sourceCpu = new CpuWatch(sourcePid);
  const startedAtMs = Date.now();
  const body = { vm: guestName, to, downtimeLimitMs, timeoutMs: null, bitsPerSecond: null };
  let sourceCpuSeconds: number;
  let done: MigrateDone;
  try {
    done = (await testbed.site(from).ask("migrate", body, () => {}, signal)) as unknown as MigrateDone;
  } finally {
    sourceCpuSeconds = sourceCpu.end();
  }
  const afterWire = await wireBytes(testbed);
  const { stopAtMs, runAtMs } = await waitFor("the VM's events", () =>
    switchoverOf(runs.events.slice(eventsBefore), from, to),
  );
  const totalMs = runAtMs - startedAtMs;
  const destinationPid = await qemuPid(testbed, to);
  const destinationMemory = peakBesideGuest(destinationPid);
  await orAborted(agentsQuiet(testbed), signal);
  const aliveSeconds = (Date.now() - runAtMs) / 1000;
  const destinationCpu = cpuBeside(destinationPid, idleShare * aliveSeconds);
  return {
    totalMs: Math.round(totalMs),
    downtimeMs: Math.round(runAtMs - stopAtMs),
    reportedDowntimeMs: done.downtimeMs,
    wireBytes: afterWire - wireBefore,
    agentCpuSeconds: totalCpu(agents) - agentsBefore,
    qemuCpuSeconds: Math.max(0, sourceCpuSeconds - (idleShare * totalMs) / 1000) + destinationCpu,
    agentMemoryBytes: agents.reduce((sum, pid) => sum + peakResidentBytes(pid), 0),
    qemuMemoryBytes: sumOf([sourceMemory, destinationMemory]),
    rounds: done.rounds,
    tracking: (done as { readonly tracking?: string }).tracking ?? null,
  };
}

/** Waits until a site says that its VM's changes are tracked in a mode. Rejects with what it says if that does not come. */
async function untilLive(testbed: Testbed, site: string, mode: OwnMode): Promise<void> {
  let why: unknown;
  await waitFor(`${mode} tracking at ${site}`, async () => {
    const { tracking } = await testbed.site(site).ask("show", { vm: guestName });
    const report = tracking as { readonly mode: string; readonly why: unknown } | undefined;
    why = report?.why;
    return report?.mode === mode || null;
  }).catch((error) => {
    throw new Error(`${messageOf(error)}; the site says: ${why}`, { cause: error });
  });
}

async function agentsQuiet(testbed: Testbed): Promise<void> {
  await untilQuiet(sites.map((site) => testbed.site(site).pid));
}

async function qemuPid(testbed: Testbed, site: string): Promise<number> {
  const record = await findRecord(testbed.site(site).runPath(guestName));
  if (record === null) throw new Error(`Cannot measure: there is no QEMU at site ${site}`);
  return record.pid;
}

async function wireBytes(testbed: Testbed): Promise<number> {
  const stats = await Promise.all([testbed.link("a", "b").stats(), testbed.link("b", "a").stats()]);
  return stats.reduce((sum, { aToB, bToA }) => sum + aToB + bToA, 0);
}

function totalCpu(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + cpuSeconds(pid), 0);
}

/** Legs of ours with one guest over one link: the first one, then the ways back and there again, each after a time away. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Estimate } from "../../src/predict/index.ts";
import type { MigrateDone } from "../agent/migrate.ts";
import type { TrackingReport } from "../agent/tracking-report.ts";
import { guestName, safeMemoryBytes, Testbed } from "../demo/testbed.ts";
import { OperationError } from "../errors.ts";
import { copyDataDisk, dataDiskBytes } from "./data-disk.ts";
import { experimentGuestArguments, heartbeatPath } from "./guest/experiment-guest.ts";
import { checkAge, GuestDriver } from "./guest-driver.ts";
import { diskNode } from "./guest-process.ts";
import { Heartbeat } from "./heartbeat.ts";
import { nonZeroShare } from "./memory-share.ts";
import { type Experiment, experimentName, isReturn } from "./plan.ts";
import type { ExperimentRecord } from "./record.ts";
import { monitorArguments, monitorPath, RunLog, switchoverOf } from "./run-log.ts";
import { type Measured, recorded, type SessionContext } from "./session.ts";

const mebibyte = 2 ** 20;
const pageBytes = 4096;
const siteNames = ["a", "b"] as const;
const eventPollMs = 20;
const eventTimeoutMs = 60_000;

/** What all legs of the session have in common. */
interface Running {
  readonly context: SessionContext;
  readonly testbed: Testbed;
  readonly runs: RunLog;
  readonly heartbeat: Heartbeat;
  readonly nonZero: number;
}

/** Runs it; see `runSession`. */
export async function runOwnSession(wanted: readonly Experiment[], context: SessionContext): Promise<void> {
  const [{ age }] = wanted as [Experiment];
  const { signal, tell } = context;
  const folder = await mkdtemp(join(tmpdir(), "bfmig-disk-"));
  const heartbeat = new Heartbeat();
  let testbed: Testbed | null = null;
  let runs: RunLog | null = null;
  let driver: GuestDriver | null = null;
  try {
    testbed = await makeTestbed(wanted[0] as Experiment, folder, context);
    const { socketFolder } = testbed;
    for (const site of siteNames) heartbeat.follow(heartbeatPath(testbed.consolePath(site)));
    runs = new RunLog(
      Object.fromEntries(siteNames.map((site) => [site, monitorPath(site, socketFolder)] as const)),
    );
    await testbed.startSites();
    signal.throwIfAborted();
    await testbed.site("a").ask("start", { vm: guestName });
    driver = await GuestDriver.boot(testbed.consolePath("a"), wanted[0] as Experiment, tell, signal);
    await driver.prepare(tell);
    const monitor = await soon("the VM's monitor", () => runs?.monitor("a") ?? null, signal);
    const nonZero = await nonZeroShare(monitor, testbed.options.memoryBytes, socketFolder);
    checkAge(age, nonZero);
    await runLegs(wanted, driver, { context, testbed, runs, heartbeat, nonZero });
  } finally {
    driver?.close();
    await heartbeat.close();
    await runs?.close();
    await testbed?.close();
    await rm(folder, { recursive: true, force: true });
  }
}

/** The first leg is made whether it is wanted or not: it is what the others come back from. */
async function runLegs(wanted: readonly Experiment[], driver: GuestDriver, running: Running): Promise<void> {
  const { context, testbed } = running;
  const { signal, tell, onRecord } = context;
  const [one] = wanted as [Experiment];
  const legs: Experiment[] = wanted.filter(({ method }) => isReturn(method));
  legs.unshift({ ...one, method: "bfmig-first", awayMs: null });
  let [from, to]: readonly [string, string] = siteNames;
  let arrivedAtMs = performance.now();
  for (const leg of legs) {
    signal.throwIfAborted();
    tell(experimentName(leg));
    if (leg.awayMs !== null) {
      // First, since asking for it makes QEMU measure for a second.
      if (leg.method === "bfmig-standing") await untilStanding(testbed, from, signal);
      const leftMs = arrivedAtMs + leg.awayMs - performance.now();
      await sleep(Math.max(0, leftMs), undefined, { signal });
    }
    const record = await recorded(leg, () => measure(running, leg, from, to));
    arrivedAtMs = performance.now();
    if (record.converged) await driver.follow(testbed.consolePath(to));
    await driver.worked();
    if (wanted.some(({ method, awayMs }) => method === leg.method && awayMs === leg.awayMs)) {
      await onRecord(record);
    }
    if (!record.converged) {
      tell("it did not converge: what would come after it is left out");
      return;
    }
    [from, to] = [to, from];
  }
}

async function makeTestbed(
  experiment: Experiment,
  folder: string,
  context: SessionContext,
): Promise<Testbed> {
  const { workload, memoryMiB, link, method } = experiment;
  const { guest, qemuBinary } = context;
  const disk = workload === "postgres" ? join(folder, "disk.img") : null;
  if (disk !== null) await copyDataDisk(await context.dataDisk(), disk);
  return await Testbed.create({
    memoryBytes: await safeMemoryBytes(memoryMiB * mebibyte, qemuBinary),
    // Of the boot-sector guest, which is not started here.
    ...{ fillBytes: 0, workingSetBytes: 0, dirtyPagesPerSecond: 0 },
    rateBitsPerSecond: link.bitsPerSecond,
    rttMs: link.rttMs,
    keepFolder: null,
    qemuBinary,
    guest: (consolePath) => experimentGuestArguments(guest, consolePath),
    moreArguments: monitorArguments,
    tracking: method === "bfmig-standing" ? "standing" : "scan",
    disks: disk === null ? [] : [{ id: diskNode, file: disk, format: "raw" }],
  });
}

async function measure(running: Running, leg: Experiment, from: string, to: string): Promise<Measured> {
  const { context, testbed, runs, heartbeat, nonZero } = running;
  const { signal, downtimeLimitMs } = context;
  const { memoryBytes } = testbed.options;
  const monitor = await soon("the VM's monitor", () => runs.monitor(from), signal);
  const diskBytes = leg.workload === "postgres" ? dataDiskBytes : 0;
  const common = {
    memoryBytes,
    nonZeroShare: nonZero,
    diskBytes,
    qemuVersion: monitor.version.join("."),
  };
  await heartbeat.begin(heartbeatPath(testbed.consolePath(from)));
  const wireBefore = await wireBytes(testbed);
  const eventsBefore = runs.events.length;
  const startedAtMs = Date.now();
  const timeoutMs = context.giveUpMs(leg, diskBytes);
  const body = { vm: guestName, to, downtimeLimitMs, timeoutMs, bitsPerSecond: null };
  try {
    const done = (await testbed.site(from).ask("migrate", body, () => {}, signal)) as unknown as MigrateDone;
    if (leg.method === "bfmig-standing" && done.tracking !== "standing") {
      throw new OperationError("failed", "Cannot measure the leg: it lost its standing migration");
    }
    const wire = (await wireBytes(testbed)) - wireBefore;
    const { stopAtMs, runAtMs } = await soon(
      "the VM's events",
      () => switchoverOf(runs.events.slice(eventsBefore), from, to),
      signal,
    );
    const gapMs = await heartbeat.end(heartbeatPath(testbed.consolePath(to)));
    return {
      ...common,
      totalMs: Math.round(runAtMs - startedAtMs),
      downtimeMs: Math.round(runAtMs - stopAtMs),
      gapMs: Math.round(gapMs),
      wireBytes: wire,
      converged: true,
      predicted: predictionOf(done),
      changedShare: isReturn(leg.method) ? changedShare(done, memoryBytes) : null,
    };
  } catch (error) {
    signal.throwIfAborted();
    const isLate = Date.now() - startedAtMs >= timeoutMs;
    if (!isLate || !(error instanceof OperationError) || error.reason !== "aborted") throw error;
    const gapMs = await heartbeat.end(heartbeatPath(testbed.consolePath(from)));
    return {
      ...common,
      totalMs: Date.now() - startedAtMs,
      downtimeMs: 0,
      gapMs: Math.round(gapMs),
      wireBytes: (await wireBytes(testbed)) - wireBefore,
      converged: false,
      predicted: null,
      changedShare: null,
    };
  }
}

/** What a leg had expected; null if it had not expected to end, or nothing at all. */
function predictionOf({ prediction }: MigrateDone): ExperimentRecord["predicted"] {
  if (prediction === null || prediction.totalMs === null || prediction.wireBytes === null) return null;
  const rangeOf = ({ value, low, high }: Estimate) => ({ value, low, high });
  return {
    totalMs: rangeOf(prediction.totalMs),
    downtimeMs: rangeOf(prediction.downtimeMs),
    wireBytes: rangeOf(prediction.wireBytes),
  };
}

/** Pages that were sent over all pages; one that the guest changed again while the leg ran counts again, up to 1 in all. */
function changedShare({ pages }: MigrateDone, memoryBytes: number): number {
  const { zero, moved, delta, lz4, raw } = pages;
  return Math.min(1, (zero + moved + delta + lz4 + raw) / (memoryBytes / pageBytes));
}

/** Payload of both links so far, both directions. */
async function wireBytes(testbed: Testbed): Promise<number> {
  let bytes = 0;
  for (const [from, to] of [siteNames, [...siteNames].reverse()]) {
    const { aToB, bToA } = await testbed.link(from as string, to as string).stats();
    bytes += aToB + bToA;
  }
  return bytes;
}

/** Waits for what comes within moments. */
/** Resolves when the VM has a standing migration to come back with. */
async function untilStanding(testbed: Testbed, site: string, signal: AbortSignal): Promise<void> {
  const look = async () => {
    const shown = await testbed.site(site).ask("show", { vm: guestName });
    return (shown["tracking"] as TrackingReport).mode === "standing" || null;
  };
  await soon("a standing migration", look, signal);
}

async function soon<T>(
  what: string,
  look: () => T | null | Promise<T | null>,
  signal: AbortSignal,
): Promise<T> {
  const deadline = Date.now() + eventTimeoutMs;
  for (;;) {
    const found = await look();
    if (found !== null) return found;
    if (Date.now() > deadline)
      throw new OperationError("failed", `Cannot measure the leg: ${what} did not come`);
    await sleep(eventPollMs, undefined, { signal });
  }
}

/**
 * Benchmark of standing migrations, each comparison from one run:
 *
 *     npm run bench:standing [-- [--json] [--sizes 128,512,1024] [growth] [overhead]]
 *
 * Without a name both parts run.
 *
 *     growth     time of return legs over the size of the memory with a fixed set of changed pages, scan against standing
 *     overhead   ticks that a busy guest manages under TCG, held against not held; what KVM makes of it is not measured here
 */

import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { MigrateDone } from "../../cli/agent/migrate.ts";
import type { TrackingReport } from "../../cli/agent/tracking-report.ts";
import { dirtiedAddress } from "../../cli/demo/guest.ts";
import { readWord } from "../../cli/demo/guest-console.ts";
import { guestName, safeMemoryBytes, Testbed } from "../../cli/demo/testbed.ts";
import { QmpClient } from "../../cli/qemu/qmp-client.ts";
import { readCommandLine, refuse } from "../command-line.ts";
import { machine, mebibytes, median, percent, untilQuiet } from "./measure.ts";

const mebibyte = 2 ** 20;
const pollMs = 100;
const returnLegs = 3;
/** Share of the memory that is not zero. */
const filledShare = 0.8;
const overheadRounds = 4;
const overheadMs = 3_000;

type Tracking = "scan" | "standing";

const { values, positionals } = readCommandLine({
  allowPositionals: true,
  options: { json: { type: "boolean" }, sizes: { type: "string", default: "128,512,1024" } },
});
const sizes = values.sizes.split(",").map(Number);
if (!sizes.every((size) => Number.isInteger(size) && size >= 64 && size <= 3072)) {
  refuse(`Cannot use sizes ${values.sizes}: write numbers of MiB from 64 to 3072, with commas`);
}
const parts = positionals.length > 0 ? positionals : ["growth", "overhead"];
const unknown = parts.find((part) => part !== "growth" && part !== "overhead");
if (unknown !== undefined) refuse(`Cannot run ${unknown}: there are growth and overhead`);
const tell = (text: string) => process.stderr.write(`- ${text}\n`);

/** Return legs of one guest. */
async function growth(memoryMiB: number, tracking: Tracking) {
  tell(`${memoryMiB} MiB, ${tracking}`);
  const memoryBytes = await safeMemoryBytes(memoryMiB * mebibyte, "qemu-system-x86_64");
  const testbed = await Testbed.create({
    memoryBytes,
    fillBytes: Math.floor(memoryMiB * filledShare) * mebibyte,
    workingSetBytes: 4 * mebibyte,
    dirtyPagesPerSecond: 200,
    rateBitsPerSecond: 1e9,
    rttMs: 10,
    keepFolder: null,
    tracking,
  });
  try {
    await begin(testbed);
    const legs: MigrateDone[] = [];
    for (let leg = 0; leg < returnLegs; leg++) {
      const [from, to] = leg % 2 === 0 ? ["b", "a"] : ["a", "b"];
      await rested(testbed, from, tracking);
      legs.push(await migrate(testbed, from, to));
    }
    const unlike = legs.filter((leg) => leg.tracking !== tracking || leg.leg !== "return");
    if (unlike.length > 0) throw new Error(`legs of ${memoryMiB} MiB were not as asked for: ${tracking}`);
    return {
      memoryBytes,
      tracking,
      returnMs: median(legs.map(({ totalMs }) => totalMs)),
      downtimeMs: median(legs.map(({ downtimeMs }) => downtimeMs)),
      wireBytes: median(legs.map(({ wireBytes }) => wireBytes)),
      ramBytes: median(legs.map(({ ramBytes }) => ramBytes)),
    };
  } finally {
    await testbed.close();
  }
}

/** Pages a second that a guest without a pause dirties, in turns held and not held. */
async function overhead() {
  tell("overhead of a hold");
  const monitorPath = (site: string, folder: string) => join(folder, `${site}.bench`);
  const testbed = await Testbed.create({
    memoryBytes: await safeMemoryBytes(256 * mebibyte, "qemu-system-x86_64"),
    fillBytes: 192 * mebibyte,
    workingSetBytes: 16 * mebibyte,
    // More than it can do: it never waits for its clock.
    dirtyPagesPerSecond: 100_000_000,
    rateBitsPerSecond: 1e9,
    rttMs: 10,
    keepFolder: null,
    tracking: "standing",
    moreArguments: (site, folder) => ["-qmp", `unix:${monitorPath(site, folder)},server=on,wait=off`],
  });
  try {
    await begin(testbed, 60_000);
    const monitor = await QmpClient.connect(monitorPath("b", testbed.socketFolder));
    const held: number[] = [];
    const free: number[] = [];
    for (let round = 0; round < overheadRounds; round++) {
      await rested(testbed, "b", "standing");
      held.push(await pagesPerSecond(monitor));
      await testbed.site("b").ask("prune", { vm: guestName, keep: 2 });
      free.push(await pagesPerSecond(monitor));
    }
    monitor.close();
    return {
      accelerator: "tcg",
      heldPagesPerSecond: median(held),
      freePagesPerSecond: median(free),
      // Neighbours in time are compared: the machine may change its mind in between.
      ratio: median(held.map((value, i) => value / (free[i] as number))),
      ratios: held.map((value, i) => value / (free[i] as number)),
    };
  } finally {
    await testbed.close();
  }
}

async function pagesPerSecond(monitor: QmpClient): Promise<number> {
  const startedAt = performance.now();
  const before = await readWord(monitor, dirtiedAddress);
  await sleep(overheadMs);
  const after = await readWord(monitor, dirtiedAddress);
  return (((after - before) >>> 0) / (performance.now() - startedAt)) * 1000;
}

async function begin(testbed: Testbed, downtimeLimitMs = 300): Promise<void> {
  await testbed.startSites();
  await testbed.site("a").ask("start", { vm: guestName });
  const guest = await testbed.openConsole("a");
  await guest.ready();
  guest.close();
  await migrate(testbed, "a", "b", downtimeLimitMs);
}

async function migrate(
  testbed: Testbed,
  from: string,
  to: string,
  downtimeLimitMs = 300,
): Promise<MigrateDone> {
  const body = { vm: guestName, to, downtimeLimitMs, timeoutMs: null, bitsPerSecond: null };
  return (await testbed.site(from).ask("migrate", body)) as unknown as MigrateDone;
}

/** Waits until the VM is held, or the agents have nothing more to do. */
async function rested(testbed: Testbed, site: string, tracking: Tracking): Promise<void> {
  if (tracking === "scan") return await untilQuiet([...testbed.sites.values()].map(({ pid }) => pid));
  for (;;) {
    const shown = await testbed.site(site).ask("show", { vm: guestName });
    if ((shown["tracking"] as TrackingReport).mode === "standing") return;
    await sleep(pollMs);
  }
}

type Row = Awaited<ReturnType<typeof growth>>;

const describeRow = (row: Row) =>
  `${mebibytes(row.memoryBytes).padEnd(9)} ${row.tracking.padEnd(9)} return leg ${row.returnMs} ms, downtime ${row.downtimeMs} ms, ` +
  `${row.wireBytes} bytes on the wire, ${mebibytes(row.ramBytes)} of pages`;

/** Both ways for each size, and how they grow. */
async function growthOf(sizes: readonly number[]) {
  const rows: Row[] = [];
  for (const size of sizes) {
    for (const tracking of ["scan", "standing"] as const) {
      const row = await growth(size, tracking);
      rows.push(row);
      tell(describeRow(row));
    }
  }
  const times = (tracking: Tracking) =>
    rows.filter((row) => row.tracking === tracking).map(({ returnMs }) => returnMs);
  const [scan, standing] = [times("scan"), times("standing")];
  const grown = (all: readonly number[]) => (all.at(-1) ?? Number.NaN) / (all[0] ?? Number.NaN);
  return {
    rows,
    standingTimeRatios: standing.map((time, i) => time / (scan[i] ?? Number.NaN)),
    growthRatio: { scan: grown(scan), standing: grown(standing) },
  };
}

const grown = parts.includes("growth") ? await growthOf(sizes) : null;
const busy = parts.includes("overhead") ? await overhead() : null;
if (values.json) console.log(JSON.stringify({ event: "done", machine, growth: grown, overhead: busy }));
else {
  console.log(`machine: ${machine}; tcg`);
  if (grown) {
    const { scan, standing } = grown.growthRatio;
    console.log(`link 1 Gbit/s, 10 ms; ${percent(filledShare)} of the memory filled`);
    for (const row of grown.rows) console.log(describeRow(row));
    console.log(`time, largest / smallest memory: scan ${scan.toFixed(2)}, standing ${standing.toFixed(2)}`);
    console.log(
      `time, standing / scan: ${grown.standingTimeRatios.map((ratio) => ratio.toFixed(2)).join(", ")}`,
    );
  }
  if (busy)
    console.log(`a busy guest, held / not held: ${busy.ratio.toFixed(3)} (tcg; not measured under KVM)`);
}

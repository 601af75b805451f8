/**
 * Benchmark of pacing and switchover with real QEMUs over emulated links, all figures from one run:
 *
 *     npm run bench:pacing [-- [--json] [--quick]]
 *
 * links      bytes that passed the link while QEMU's first pass was sent, as a share of what it could carry
 * downtimes  of a guest that writes a small working set all the time, against its limit
 * caps       bytes that passed in any second of a capped leg, as a share of the cap
 */

import { readFileSync } from "node:fs";
import { performance } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import type { MigrateDone } from "../../cli/agent/migrate.ts";
import type { ControlLine } from "../../cli/control-client.ts";
import { guestName, safeMemoryBytes, Testbed } from "../../cli/demo/testbed.ts";
import type { DivergenceEvent } from "../../cli/leg/divergence.ts";
import { readCommandLine } from "../command-line.ts";
import { machine, median, percent } from "./measure.ts";

const mebibyte = 2 ** 20;
const sampleMs = 50;
const windowMs = 1000;
/** The beginning of a leg is asking and answering, and its end is what is left. */
const skippedMs = 1000;

interface Case {
  readonly megabits: number;
  readonly rttMs: number;
  readonly fillMiB: number;
  readonly capMegabits?: number;
  readonly downtimeLimitMs?: number;
  /** Pages a second that the guest writes in a working set of 1 MiB. */
  readonly dirtyPagesPerSecond?: number;
}

interface Sample {
  readonly at: number;
  readonly bytes: number;
}

interface Leg {
  readonly done: MigrateDone;
  /** Bytes that had passed the link towards the peer. */
  readonly samples: readonly Sample[];
  /** When QEMU's second pass began, or the leg ended. */
  readonly bulkEndedAt: number;
  readonly divergence: string | null;
}

async function runLeg(one: Case): Promise<Leg> {
  const { megabits, rttMs, fillMiB, capMegabits, downtimeLimitMs = 300, dirtyPagesPerSecond = 0 } = one;
  const testbed = await Testbed.create({
    memoryBytes: await safeMemoryBytes((fillMiB + 32) * mebibyte, "qemu-system-x86_64"),
    fillBytes: fillMiB * mebibyte,
    workingSetBytes: mebibyte,
    dirtyPagesPerSecond,
    rateBitsPerSecond: megabits * 1e6,
    rttMs,
    keepFolder: null,
  });
  try {
    await testbed.startSites();
    await testbed.site("a").ask("start", { vm: guestName });
    const guest = await testbed.openConsole("a");
    await guest.ready();
    guest.close();
    const link = testbed.link("a", "b");
    const samples: Sample[] = [];
    let bulkEndedAt = Number.POSITIVE_INFINITY;
    let divergence: string | null = null;
    const onLine = (line: ControlLine) => {
      if (line.event === "progress" && line["phase"] !== "first-pass")
        bulkEndedAt = Math.min(bulkEndedAt, performance.now());
      if (line.event === "divergence") divergence = (line as unknown as DivergenceEvent).message;
    };
    let isOver = false;
    const bitsPerSecond = capMegabits === undefined ? null : capMegabits * 1e6;
    const body = { vm: guestName, to: "b", downtimeLimitMs, timeoutMs: 120_000, bitsPerSecond };
    const asked = testbed
      .site("a")
      .ask("migrate", body, onLine)
      .finally(() => {
        isOver = true;
      });
    asked.catch(() => {});
    while (!isOver) {
      samples.push({ bytes: (await link.stats()).aToB, at: performance.now() });
      await sleep(sampleMs);
    }
    const done = (await asked) as unknown as MigrateDone;
    return { done, samples, bulkEndedAt: Math.min(bulkEndedAt, performance.now()), divergence };
  } finally {
    await testbed.close();
  }
}

/** Bytes a second in each stretch of a second while the bulk was sent. */
function perSecond({ samples, bulkEndedAt }: Leg): number[] {
  const start = samples.find(({ bytes }) => bytes > mebibyte / 2)?.at ?? 0;
  const rates: number[] = [];
  let from = 0;
  for (const { at, bytes } of samples) {
    while (at - samples[from].at >= windowMs) {
      const first = samples[from++];
      if (first.at < start + skippedMs || at > bulkEndedAt) continue;
      rates.push((bytes - first.bytes) / ((at - first.at) / 1000));
    }
  }
  return rates;
}

/** What share of a rate the seconds of a leg have; null if the leg was too short to say. */
function shares(leg: Leg, megabits: number) {
  const rates = perSecond(leg).map((bytes) => bytes / (megabits * 125_000));
  if (rates.length === 0) return null;
  return {
    median: median(rates),
    least: Math.min(...rates),
    most: Math.max(...rates),
    seconds: rates.length,
  };
}

const { values } = readCommandLine({ options: { json: { type: "boolean" }, quick: { type: "boolean" } } });
const note = (text: string) => process.stderr.write(`- ${text}\n`);

const links: Case[] = [
  { megabits: 50, rttMs: 200, fillMiB: 64 },
  { megabits: 100, rttMs: 40, fillMiB: 96 },
  ...(values.quick ? [] : [{ megabits: 1000, rttMs: 10, fillMiB: 512 }]),
];
const caps: Case[] = [
  { megabits: 1000, rttMs: 20, fillMiB: 10, capMegabits: 10 },
  { megabits: 1000, rttMs: 20, fillMiB: 32, capMegabits: 40 },
  ...(values.quick ? [] : [{ megabits: 1000, rttMs: 20, fillMiB: 128, capMegabits: 200 }]),
];
const switchovers: Case[] = [
  { megabits: 40, rttMs: 20, fillMiB: 16, dirtyPagesPerSecond: 2000, downtimeLimitMs: 300 },
  { megabits: 60, rttMs: 20, fillMiB: 16, dirtyPagesPerSecond: 2000, downtimeLimitMs: 300 },
  { megabits: 100, rttMs: 40, fillMiB: 16, dirtyPagesPerSecond: 2000, downtimeLimitMs: 500 },
  { megabits: 50, rttMs: 200, fillMiB: 16, dirtyPagesPerSecond: 2000, downtimeLimitMs: 1000 },
];

const figures = {
  links: [] as unknown[],
  caps: [] as unknown[],
  downtimes: [] as unknown[],
};
const lines: string[] = [];
for (const one of links) {
  note(`link of ${one.megabits} Mbit/s, ${one.rttMs} ms`);
  const used = shares(await runLeg(one), one.megabits);
  figures.links.push({ megabits: one.megabits, rttMs: one.rttMs, used });
  lines.push(`link ${one.megabits} Mbit/s, ${one.rttMs} ms: ${describe(used)} of it is filled`);
}
for (const one of caps) {
  note(`cap of ${one.capMegabits} Mbit/s`);
  const used = shares(await runLeg(one), one.capMegabits as number);
  const error = used && Math.max(used.most - 1, 1 - used.least);
  figures.caps.push({ capMegabits: one.capMegabits, used, error });
  lines.push(`cap ${one.capMegabits} Mbit/s: ${describe(used)} of it is used`);
}
for (const one of switchovers) {
  const { megabits, rttMs, downtimeLimitMs = 0 } = one;
  note(`downtime over ${megabits} Mbit/s, ${rttMs} ms, limit ${downtimeLimitMs} ms`);
  const { done, divergence } = await runLeg(one);
  const boundMs = downtimeLimitMs + 2 * rttMs + 50;
  const { downtimeMs, rounds } = done;
  figures.downtimes.push({ megabits, rttMs, downtimeLimitMs, boundMs, downtimeMs, rounds, divergence });
  lines.push(
    `downtime ${megabits} Mbit/s, ${rttMs} ms: ${downtimeMs} ms, limit ${downtimeLimitMs} ms, ` +
      `with two round trips and 50 ms ${boundMs} ms; ${rounds} passes${divergence === null ? "" : "; diverged"}`,
  );
}
const load = readFileSync("/proc/loadavg", "utf8").split(" ").slice(0, 3).join(" ");
if (values.json) console.log(JSON.stringify({ event: "done", machine, load, ...figures }));
else console.log([`machine: ${machine}; load at the end: ${load}`, ...lines].join("\n"));

function describe(used: ReturnType<typeof shares>): string {
  if (used === null) return "too short to say what";
  return `${percent(used.median)} in the median second, ${percent(used.least)} to ${percent(used.most)},`;
}

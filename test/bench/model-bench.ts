/**
 * How well legs are predicted: each is predicted before it by the agent itself, over links and with guests that nothing
 * was learned on. After each leg that counts the sites forget it again.
 *
 *     npm run bench:model [-- --quick] [-- --json]
 */

import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { MigrateDone } from "../../cli/agent/migrate.ts";
import { printTable } from "../../cli/commands/output.ts";
import { firstFilledPage } from "../../cli/demo/guest.ts";
import { guestName, safeMemoryBytes, Testbed } from "../../cli/demo/testbed.ts";
import { legHistoryFile } from "../../cli/store/leg-history.ts";
import { spreadRuns } from "./guest-bed.ts";
import {
  calibrationCells,
  countedGuests,
  countedLinks,
  type ModelGuest,
  type ModelLink,
} from "./model-cells.ts";

const sites = ["a", "b"] as const;
const downtimeLimitMs = 300;
/** The guest works for so many of its own seconds between legs. */
const workSeconds = 4;
const rewrittenRuns = 8;
const rewrittenDiskShare = 0.05;

/** One leg, predicted and measured. */
interface Outcome {
  readonly guest: string;
  readonly link: string;
  readonly leg: string;
  readonly predictedMs: number;
  readonly measuredMs: number;
  readonly predictedBytes: number;
  readonly measuredBytes: number;
  readonly isWithin: boolean;
}

/** What each site has learned: the text of its history. */
type Learned = Map<string, string>;

const { values } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
    detail: { type: "boolean", default: false },
  },
});

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

async function series(
  guest: ModelGuest,
  link: ModelLink,
  learned: Learned,
  isCounted: boolean,
): Promise<Outcome[]> {
  const folder = await mkdtemp(join(tmpdir(), "bfmig-model-"));
  const testbed = await Testbed.create({
    ...guest,
    memoryBytes: await safeMemoryBytes(guest.memoryBytes, "qemu-system-x86_64"),
    rateBitsPerSecond: link.megabitsPerSecond * 1e6,
    rttMs: link.rttMs,
    keepFolder: folder,
    disk:
      guest.diskBytes > 0
        ? { sizeBytes: guest.diskBytes, filledBytes: guest.diskBytes / 4, content: "mixed" }
        : null,
  });
  const historyPath = (site: string) => join(folder, site, "store", guestName, legHistoryFile);
  const recall = async () => {
    for (const site of sites) {
      await mkdir(join(folder, site, "store", guestName), { recursive: true });
      await writeFile(historyPath(site), learned.get(site) ?? "");
    }
  };
  const outcomes: Outcome[] = [];
  try {
    await recall();
    await testbed.startSites();
    await testbed.site("a").ask("start", { vm: guestName });
    let [from, to]: readonly [string, string] = sites;
    for (const rewrite of [null, ...guest.rewrites]) {
      await work(testbed, from, guest, rewrite);
      const done = (await testbed.site(from).ask("migrate", {
        vm: guestName,
        to,
        downtimeLimitMs,
        timeoutMs: 300_000,
        bitsPerSecond: null,
        link: { rate: link.megabitsPerSecond * 1e6, rttMs: null, loss: null },
      })) as unknown as MigrateDone;
      outcomes.push(outcomeOf(guest, link, done));
      const last = outcomes[outcomes.length - 1];
      say(
        `  ${last.guest} ${last.link} ${last.leg}: ${last.predictedMs} → ${last.measuredMs} ms, ` +
          `${last.predictedBytes} → ${last.measuredBytes} bytes`,
      );
      if (values.detail) {
        const [line] = (await readFile(historyPath(from), "utf8")).trimEnd().split("\n").slice(-1);
        say(line);
      }
      if (isCounted) await recall();
      [from, to] = [to, from];
    }
    if (!isCounted) for (const site of sites) learned.set(site, await readFile(historyPath(site), "utf8"));
    return outcomes;
  } finally {
    await testbed.close();
    await rm(folder, { recursive: true, force: true });
  }
}

/** What the guest does before a leg; null before the first one. */
async function work(
  testbed: Testbed,
  site: string,
  guest: ModelGuest,
  rewrite: number | null,
): Promise<void> {
  const console = await testbed.openConsole(site);
  try {
    await console.ready();
    const filled = guest.fillBytes / 4096;
    const pages = Math.round(filled * (rewrite ?? 0));
    if (pages > 0) {
      for (const { first, count } of spreadRuns(pages, filled, rewrittenRuns)) {
        if (count > 0) await console.rewrite(firstFilledPage + first, count);
      }
    }
    if (testbed.disk !== null && rewrite !== null) {
      const disk = await testbed.openDisk(site);
      const { filledBlocks } = testbed.disk;
      await disk
        .rewrite(testbed.disk.spread(Math.ceil(filledBlocks * rewrittenDiskShare)), 1)
        .finally(() => disk.close());
    }
    const until = console.dots + workSeconds;
    while (console.dots < until) await new Promise((resolve) => setTimeout(resolve, 50));
  } finally {
    console.close();
  }
}

function outcomeOf(guest: ModelGuest, link: ModelLink, done: MigrateDone): Outcome {
  const { prediction } = done;
  if (!prediction?.totalMs || !prediction.wireBytes)
    throw new Error(`Cannot judge a leg of ${guest.name}: it was not predicted`);
  const { totalMs, wireBytes } = prediction;
  return {
    guest: guest.name,
    link: `${link.megabitsPerSecond}/${link.rttMs}`,
    leg: done.leg,
    predictedMs: totalMs.value,
    measuredMs: done.totalMs,
    predictedBytes: wireBytes.value,
    measuredBytes: done.wireBytes,
    isWithin: done.totalMs >= totalMs.low && done.totalMs <= totalMs.high,
  };
}

const errorOf = (predicted: number, measured: number) => Math.abs(predicted - measured) / measured;
const timeErrors = (of: readonly Outcome[]) => of.map((one) => errorOf(one.predictedMs, one.measuredMs));
const byteErrors = (of: readonly Outcome[]) =>
  of.map((one) => errorOf(one.predictedBytes, one.measuredBytes));

/** The smallest value that so many are not above. */
function quantile(errors: readonly number[], share: number): number {
  const sorted = [...errors].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0;
}

function table(title: string, outcomes: readonly Outcome[], by: (one: Outcome) => string): void {
  const percent = (value: number) => `${(value * 100).toFixed(1)} %`;
  const rows = [...new Set(outcomes.map(by)), null].map((name) => {
    const some = name === null ? outcomes : outcomes.filter((one) => by(one) === name);
    const [time, bytes] = [timeErrors(some), byteErrors(some)];
    return [
      name ?? "all",
      some.length,
      ...[time, bytes].flatMap((errors) => [percent(quantile(errors, 0.5)), percent(quantile(errors, 0.9))]),
      percent(some.filter((one) => one.isWithin).length / some.length),
    ];
  });
  printTable([title, "LEGS", "TIME P50", "TIME P90", "BYTES P50", "BYTES P90", "WITHIN"], rows);
}

const learned: Learned = new Map();
say("learning, on legs that do not count");
for (const [guest, link] of calibrationCells) await series(guest, link, learned, false);
const outcomes: Outcome[] = [];
for (const link of values.quick ? countedLinks.slice(1, 3) : countedLinks) {
  for (const guest of countedGuests) {
    say(`${guest.name} over ${link.megabitsPerSecond} Mbit/s, ${link.rttMs} ms`);
    outcomes.push(...(await series(guest, link, learned, true)));
  }
}
table("GUEST", outcomes, (one) => one.guest);
table("LINK", outcomes, (one) => one.link);
table("LEG", outcomes, (one) => one.leg);
if (values.json) {
  process.stdout.write(
    `${JSON.stringify({
      legs: outcomes.length,
      p90TotalTime: quantile(timeErrors(outcomes), 0.9),
      p90WireBytes: quantile(byteErrors(outcomes), 0.9),
    })}\n`,
  );
}

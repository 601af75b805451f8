/** A first leg over a slow link that is cut again and again: it must come to its end, and send next to nothing twice. */

import { setTimeout as sleep } from "node:timers/promises";
import type { MigrateDone } from "../../cli/agent/migrate.ts";
import { guestName } from "../../cli/demo/testbed.ts";
import { messageOf } from "../../cli/errors.ts";
import { Rig } from "../integration/rig.ts";
import { SeededRandom } from "./seeded-random.ts";
import { Teardowns } from "./teardowns.ts";

const MIB = 1 << 20;
const fillBytes = 250 * MIB;
const wantedCuts = 10;
const cutMs = { least: 1_000, most: 5_000 } as const;
/** Between the end of a cut and the next one: all cuts must fall into the leg. */
const pauseMs = { least: 1_500, most: 3_500 } as const;
const seed = 4;
/** The leg has sent something by then. */
const underWayBytes = 4 * MIB;
/** Bytes that may be sent twice, of all. */
const highestShare = 0.05;

/** What it cost. */
export interface CutsFigures {
  readonly cuts: number;
  /** How long they were, all together. */
  readonly cutMs: number;
  readonly reconnects: number;
  readonly totalMs: number;
  readonly wireBytes: number;
  /** As the source counts: also what was still in its own socket when the link was lost. */
  readonly resentBytes: number;
  /** What has crossed the link twice, and its share of all that has crossed it. */
  readonly twiceBytes: number;
  readonly share: number;
  readonly violations: readonly string[];
}

/** Runs the leg: 256 MiB over 50 Mbit/s with a round trip of 80 ms. Takes about a minute and a half. */
export async function runCuts(): Promise<CutsFigures> {
  const teardowns = new Teardowns();
  const none = {
    cuts: 0,
    cutMs: 0,
    reconnects: 0,
    totalMs: 0,
    wireBytes: 0,
    resentBytes: 0,
    twiceBytes: 0,
    share: 0,
  };
  try {
    const rig = await Rig.boot(teardowns, {
      memoryBytes: 256 * MIB - 8192,
      fillBytes,
      workingSetBytes: MIB,
      dirtyPagesPerSecond: 100,
      rateBitsPerSecond: 50e6,
      rttMs: 80,
    });
    return await runOn(rig);
  } catch (error) {
    return { ...none, violations: [messageOf(error)] };
  } finally {
    await teardowns.run();
  }
}

async function runOn(rig: Rig): Promise<CutsFigures> {
  const link = rig.testbed.link("a", "b");
  const random = new SeededRandom(seed);
  let isOver = false;
  const body = { vm: guestName, to: "b", downtimeLimitMs: 300, timeoutMs: null, bitsPerSecond: null };
  const leg = rig
    .site("a")
    .ask("migrate", body)
    .finally(() => {
      isOver = true;
    });
  leg.catch(() => {});
  let cuts = 0;
  let cutTotalMs = 0;
  while (!isOver && (await link.stats()).aToB < underWayBytes) await sleep(100);
  while (!isOver && cuts < wantedCuts) {
    await sleep(random.integer(pauseMs.least, pauseMs.most));
    if (isOver) break;
    const ms = random.integer(cutMs.least, cutMs.most);
    await link.cut();
    await sleep(ms);
    await link.restore();
    cuts++;
    cutTotalMs += ms;
  }
  const done = (await leg) as unknown as MigrateDone;
  const { reconnects, wireBytes, resentBytes, totalMs } = done;
  const { aToB, bToA } = await link.stats();
  const onceBytes = wireBytes - resentBytes - bToA;
  const twiceBytes = Math.max(0, aToB - onceBytes);
  const share = twiceBytes / aToB;
  const figures = { cuts, cutMs: cutTotalMs, reconnects, totalMs, wireBytes, resentBytes, twiceBytes, share };
  return { ...figures, violations: await violationsOf(rig, figures) };
}

async function violationsOf(rig: Rig, figures: Omit<CutsFigures, "violations">): Promise<string[]> {
  const { cuts, share, wireBytes } = figures;
  const violations: string[] = [];
  if (cuts < wantedCuts) violations.push(`only ${cuts} cuts fell into the leg`);
  if (!(share < highestShare)) violations.push(`${(100 * share).toFixed(2)} % of the bytes were sent twice`);
  // What the leg says of itself is held against what it cannot do without.
  const most = fillBytes * (1 + 2 * highestShare);
  if (!(wireBytes < most)) violations.push(`${wireBytes} bytes for ${fillBytes} that must travel`);
  await rig.untilAlive("b");
  const stops = rig.runs.events.filter(({ site, what }) => site === "a" && what === "stop").length;
  if (stops !== 1) violations.push(`the VM was stopped ${stops} times, not once for the switchover`);
  violations.push(...rig.model.check(await rig.stoppedDump("b")).slice(0, 5));
  violations.push(...rig.runs.overlaps().map((text) => `two copies ran: ${text}`));
  return violations;
}

/**
 * Legs that stop in the handover. The source's agent is halted when the destination has loaded everything: PREPARED
 * is on its way, COMMIT was not sent. A link that holds everything back then lets the source go on to RELEASED,
 * which it tells in its state lines, while COMMIT waits until the link loses it or lets it through.
 */

import { setTimeout as sleep } from "node:timers/promises";
import type { Test } from "tap";
import { type LegEnd, Rig } from "./rig.ts";
import { waitFor } from "./wait-for.ts";

/** Longer than any test. */
const foreverMs = 600_000;
/** Many round trips. */
const quietMs = 300;

/** A leg that has stopped. */
export interface Handover {
  readonly rig: Rig;
  /** The guest's counter before the leg. */
  readonly counter: number;
  readonly end: Promise<LegEnd>;
}

/** A leg from a to b whose source agent is halted before it has read PREPARED. `boot` gives a rig with the VM at a. */
export async function handover(
  t: Test,
  onState: (state: string) => void = () => {},
  boot: () => Promise<Rig> = () => Rig.boot(t),
): Promise<Handover> {
  const rig = await boot();
  const counter = await rig.counter("a");
  let isOver = false;
  await rig.expectHandover();
  const end = rig.begin("a", "b", {
    onLine: (line) => line.event === "state" && onState(String(line["state"])),
  });
  end.finally(() => {
    isOver = true;
  });
  await rig.haltAtHandover("a", "b", () => isOver);
  await waitFor("PREPARED", () => (rig.site("b").logTail.includes('"state":"prepared"') ? true : null));
  return { rig, counter, end };
}

/** The same, then let go until RELEASED is durable, with a link that holds COMMIT back. */
export async function handoverToReleased(
  t: Test,
  holdMs = foreverMs,
  boot?: () => Promise<Rig>,
): Promise<Handover> {
  let isReleased: () => void = () => {};
  const released = new Promise<void>((resolve) => {
    isReleased = resolve;
  });
  const begun = await handover(t, (state) => state === "released" && isReleased(), boot);
  const { rig } = begun;
  const link = rig.testbed.link("a", "b");
  // PREPARED is the last that the destination sends: when nothing comes any more, it has crossed the link.
  for (let before = -1, now = 0; before !== now; ) {
    before = now;
    await sleep(quietMs);
    now = (await link.stats()).bToA;
  }
  await link.cut(holdMs);
  rig.resume("a");
  await Promise.race([released, begun.end]);
  return begun;
}

/** Making a fault happen to a leg whose agent was halted at a step, and healing it. */

import { setTimeout as sleep } from "node:timers/promises";
import { waitFor } from "../integration/wait-for.ts";
import { type FaultBed, otherSite } from "./fault-bed.ts";
import type { Fault } from "./matrix.ts";
import type { Side } from "./places.ts";

/** A leg that stands at a step. */
export interface HaltedLeg {
  readonly bed: FaultBed;
  readonly from: string;
  /** The site whose agent is halted. */
  readonly haltedSite: string;
  /** Settles when the leg's command has ended. Never rejects. */
  readonly end: Promise<unknown>;
}

/** Copies that ran when the leg had ended and the fault lasted on; null where it does not. */
export type RunningMeanwhile = number | null;

const cutMs: Partial<Record<Fault, number>> = { "cut-1s": 1_000, "cut-30s": 30_000 };
const stopMs = 20_000;
/** A VM that is to go on after its leg does so within this. */
const momentMs = 5_000;
const pollMs = 50;

/** Makes a fault happen, lets the halted agent go on, and heals what does not heal by itself. */
export async function inject(fault: Fault, leg: HaltedLeg): Promise<RunningMeanwhile> {
  const { bed, from, haltedSite } = leg;
  const side = sideOf(fault);
  const target = side === "destination" ? otherSite(from) : from;
  if (fault.startsWith("kill-") && fault.endsWith("-agent")) {
    await bed.rig.site(target).kill();
    if (target !== haltedSite) bed.goOn(haltedSite);
    await bed.restartAgent(target);
    return null;
  }
  if (fault.startsWith("kill-")) {
    await killQemu(bed, target);
    bed.goOn(haltedSite);
    return null;
  }
  if (fault.startsWith("stop-")) {
    process.kill(bed.rig.site(target).pid, "SIGSTOP");
    if (target !== haltedSite) bed.goOn(haltedSite);
    await sleep(stopMs);
    bed.goOn(target);
    return null;
  }
  if (fault.startsWith("disk-full-")) {
    const { stores } = bed;
    if (stores === null) throw new TypeError("Cannot fill a disk: the stores are not small");
    await stores.fill(target);
    bed.goOn(haltedSite);
    await leg.end;
    const running = await copiesRunning(bed);
    stores.free(target);
    return running;
  }
  await cutLink(bed);
  bed.goOn(haltedSite);
  const ms = cutMs[fault];
  if (ms !== undefined) await sleep(ms);
  else await leg.end;
  const running = ms === undefined ? await copiesRunning(bed) : null;
  await restoreLink(bed);
  return running;
}

/** Resets all connections between the sites, and new ones as they come. */
export async function cutLink({ rig }: FaultBed): Promise<void> {
  await Promise.all([rig.testbed.link("a", "b").cut(), rig.testbed.link("b", "a").cut()]);
}

/** Lets connections through again. */
export async function restoreLink({ rig }: FaultBed): Promise<void> {
  await Promise.all([rig.testbed.link("a", "b").restore(), rig.testbed.link("b", "a").restore()]);
}

/** Ends a site's QEMU as a crash would, whether its agent can notice or not. */
export async function killQemu({ rig }: FaultBed, site: string): Promise<void> {
  const pid = await waitFor(`a QEMU at ${site}`, () => rig.qemuPid(site));
  process.kill(pid, "SIGKILL");
  await waitFor(`the end of QEMU at ${site}`, async () => (await rig.qemuPid(site)) === null || null);
}

/** Copies that run now, or in a moment. */
async function copiesRunning(bed: FaultBed): Promise<number> {
  const deadline = Date.now() + momentMs;
  let running = await bed.copiesRunning();
  while (running === 0 && Date.now() < deadline) {
    await sleep(pollMs);
    running = await bed.copiesRunning();
  }
  return running;
}

function sideOf(fault: Fault): Side {
  return fault.includes("destination") ? "destination" : "source";
}

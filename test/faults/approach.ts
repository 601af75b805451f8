/** Bringing a leg to a place: it stands there then, since the agent of the place's side is halted. */

import { guestName } from "../../cli/demo/testbed.ts";
import type { LegEnd, LegOptions } from "../integration/rig.ts";
import { type FaultBed, filledPages, otherSite, workingPages } from "./fault-bed.ts";
import { cutLink, killQemu } from "./inject.ts";
import type { Place } from "./places.ts";

/** A leg that was to come to a place. */
export interface ApproachedLeg {
  /** False: it ended without ever coming there. */
  readonly isThere: boolean;
  /** The site whose agent is halted. */
  readonly haltedSite: string;
  readonly end: Promise<LegEnd>;
}

/** So slow that a RAM round is no matter of milliseconds: the leg would be over before it was seen. */
const slowBitsPerSecond = 30e6;

/** Begins a leg and halts it. */
export async function approach(bed: FaultBed, place: Place, options: LegOptions): Promise<ApproachedLeg> {
  const from = bed.at;
  const to = otherSite(from);
  const last = `${place.side}:${place.step}`;
  const begin = async (step: string, more: LegOptions = {}) => {
    await bed.halts.set(step);
    const site = step.startsWith("source:") ? from : to;
    return await halted(bed, bed.beginLeg({ ...options, ...more }), step, site);
  };
  switch (place.approach) {
    case "leg": {
      if (place.step !== "ram-round") return await begin(last);
      const busy = keepChanging(bed);
      try {
        return await begin(last, { bitsPerSecond: slowBitsPerSecond });
      } finally {
        await busy.stop();
      }
    }
    case "cancelled": {
      let cancelling: Promise<unknown> | null = null;
      return await begin(last, {
        onLine: (line) => {
          if (line["state"] !== "rounds") return;
          cancelling ??= bed.rig.site(from).ask("cancel", { vm: guestName });
          cancelling.catch(() => {});
        },
      });
    }
    case "cut off": {
      const first = await begin("source:released");
      if (!first.isThere) return first;
      await cutLink(bed);
      return await onwards(bed, first, last);
    }
    case "cont fails": {
      const first = await begin("destination:owned");
      if (!first.isThere) return first;
      await killQemu(bed, to);
      return await onwards(bed, first, last);
    }
  }
}

/**
 * Has the guest change all its memory again and again: QEMU stops a guest by itself that has changed little in a pass
 * over the memory, and its second pass would be over before anybody saw it.
 */
function keepChanging(bed: FaultBed): { readonly stop: () => Promise<void> } {
  let isStopped = false;
  const work = (async () => {
    while (!isStopped) await bed.changeMemory("rewrite", workingPages, filledPages - workingPages);
  })();
  work.catch(() => {});
  return {
    stop: async () => {
      isStopped = true;
      await work;
    },
  };
}

/** From one step to a later one of the same side. */
async function onwards(
  bed: FaultBed,
  { haltedSite, end }: ApproachedLeg,
  step: string,
): Promise<ApproachedLeg> {
  await bed.halts.set(step);
  bed.goOn(haltedSite);
  return await halted(bed, end, step, haltedSite);
}

async function halted(
  bed: FaultBed,
  end: Promise<LegEnd>,
  step: string,
  haltedSite: string,
): Promise<ApproachedLeg> {
  return { isThere: await bed.haltAt(step, haltedSite, end), haltedSite, end };
}

/** What may happen to a leg, at a time that nobody chose. */

import { setTimeout as sleep } from "node:timers/promises";
import { guestName } from "../../cli/demo/testbed.ts";
import { type FaultBed, otherSite } from "../faults/fault-bed.ts";
import { cutLink, restoreLink } from "../faults/inject.ts";
import type { SeededRandom } from "../faults/seeded-random.ts";

/** One of them. */
export type AccidentKind =
  | "none"
  | "cut"
  | "cancel"
  | "kill-source-agent"
  | "kill-destination-agent"
  | "kill-destination-qemu";

/** What happens, when after the beginning of the leg, and for how long. */
export interface Accident {
  readonly kind: AccidentKind;
  readonly atMs: number;
  readonly ms: number;
}

/** In a hundred legs. */
const shares: readonly (readonly [AccidentKind, number])[] = [
  ["none", 40],
  ["cut", 28],
  ["cancel", 10],
  ["kill-destination-qemu", 10],
  ["kill-destination-agent", 6],
  ["kill-source-agent", 6],
];
/** About as long as a leg takes. */
const latestMs = 1_500;
const cutMs = { least: 100, most: 2_000 } as const;
const pollMs = 10;

/** Draws one. Agents that nobody kills show whether they grow. */
export function drawAccident(random: SeededRandom, mayKillAgents: boolean): Accident {
  const drawn = shares.filter(([kind]) => mayKillAgents || !kind.endsWith("-agent"));
  let number = random.next() * drawn.reduce((sum, [, share]) => sum + share, 0);
  const atMs = random.integer(0, latestMs);
  const ms = random.integer(cutMs.least, cutMs.most);
  for (const [kind, share] of drawn) {
    number -= share;
    if (number < 0) return { kind, atMs, ms: kind === "cut" ? ms : 0 };
  }
  throw new Error("the shares are no shares");
}

/** Lets it happen to a leg from `from`, and heals it. Nothing happens to a leg that is over. */
export async function letHappen(
  bed: FaultBed,
  { kind, atMs, ms }: Accident,
  from: string,
  leg: Promise<unknown>,
): Promise<boolean> {
  let isOver = false;
  const over = leg.then(() => {
    isOver = true;
  });
  await Promise.race([over, sleep(atMs)]);
  const to = otherSite(from);
  switch (kind) {
    case "none":
      return false;
    case "cut":
      await cutLink(bed);
      await sleep(ms);
      await restoreLink(bed);
      return true;
    case "cancel":
      await bed.rig.site(from).ask("cancel", { vm: guestName });
      return true;
    case "kill-source-agent":
    case "kill-destination-agent": {
      const site = kind === "kill-source-agent" ? from : to;
      await bed.rig.site(site).kill();
      await bed.restartAgent(site);
      return true;
    }
    case "kill-destination-qemu": {
      let pid = await bed.rig.qemuPid(to);
      while (pid === null && !isOver) {
        await sleep(pollMs);
        pid = await bed.rig.qemuPid(to);
      }
      if (pid !== null) process.kill(pid, "SIGKILL");
      return pid !== null;
    }
  }
}

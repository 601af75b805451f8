/** Sites that lose sight of each other: a VM that one of them recovers by force while the other one may still run it. */

import type { BranchLine } from "../../cli/agent/branch-list.ts";
import type { Examination } from "../../cli/agent/doctor.ts";
import { guestName } from "../../cli/demo/testbed.ts";
import type { Rig } from "./rig.ts";
import { waitFor } from "./wait-for.ts";

/** Cuts the links of both directions between two sites, or lets them through again. */
export async function setLinks(rig: Rig, isCut: boolean, one = "a", other = "b"): Promise<void> {
  for (const [from, to] of [
    [one, other],
    [other, one],
  ] as const) {
    const link = rig.testbed.link(from, to);
    await (isCut ? link.cut() : link.restore());
  }
}

/** Recovers the VM at a site. */
export async function recover(
  rig: Rig,
  site: string,
  options: { readonly force?: boolean; readonly branch?: string; readonly generation?: number } = {},
) {
  const { force = false, branch = null, generation = null } = options;
  return await rig.site(site).ask("recover", { vm: guestName, generation, branch, force });
}

/** What `bfmig doctor` says at a site. */
export async function doctor(rig: Rig, site: string): Promise<Examination> {
  return (await rig.site(site).ask("doctor", { vm: guestName })) as unknown as Examination;
}

/** The branches of a site. */
export async function branches(rig: Rig, site: string): Promise<BranchLine[]> {
  const { branches } = await rig.site(site).ask("generations", { vm: guestName });
  return branches as BranchLine[];
}

/** Waits until a site has fenced its VM completely; returns the branch, if there is one. */
export async function untilFenced(rig: Rig, site: string): Promise<BranchLine | null> {
  await waitFor(`the VM at ${site} is fenced`, async () => {
    const { ownership, fencing, activity } = await rig.site(site).ask("show", { vm: guestName });
    return (ownership === "away" && fencing === false && activity === null) || null;
  });
  return (await branches(rig, site)).at(-1) ?? null;
}

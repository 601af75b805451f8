/** What must hold of a VM that runs, and of both stores, when nothing goes on. */

import { existsSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { guestName } from "../../cli/demo/testbed.ts";
import { messageOf } from "../../cli/errors.ts";
import { verifyPaths } from "../../cli/verify/verify.ts";
import { leftFiles } from "../integration/disk-fault.ts";
import { counterIn } from "../integration/memory.ts";
import { waitFor } from "../integration/wait-for.ts";
import type { FaultBed, KnownState } from "./fault-bed.ts";

const sites = ["a", "b"];
/** Tidying up after a leg takes less. */
const tidyingMs = 500;
const liveTries = 6;

/** What of memory, disks and stores is not as it must be; the guest goes on from `before`. */
export async function damageOf(bed: FaultBed, before: KnownState): Promise<string[]> {
  const { rig, at } = bed;
  await rig.untilAlive(at);
  const memory = await rig.stoppedDump(at);
  const found = bed.model.check(memory).slice(0, 5);
  const counter = counterIn(memory);
  if (counter < before.counter) found.push(`the guest is at tick ${counter}, it was at ${before.counter}`);
  found.push(...(await bed.disks.differences(at)));
  found.push(...(await verify(bed)));
  return found;
}

/** Files of both stores that belong to nothing; they may be those of something that goes on. */
export async function filesLeft({ disks }: FaultBed): Promise<string[]> {
  const left: string[] = [];
  for (const site of sites) {
    // Something may be renamed just now.
    const names = await leftFiles(disks, site).catch((error) => [messageOf(error)]);
    left.push(...names.map((name) => `${name} at ${site}`));
  }
  return left;
}

/** Waits until none of these files is left any more. Says which ones stay. */
export async function untilRemoved(bed: FaultBed, files: readonly string[]): Promise<string[]> {
  let stay: string[] = [...files];
  await waitFor("tidy stores", async () => {
    const left = await filesLeft(bed);
    stay = stay.filter((file) => left.includes(file));
    return stay.length === 0 || null;
  }).catch(() => {});
  return stay.map((file) => `left over: ${file}`);
}

/** What the verifier says of the stores. Agents may be tidying: what it finds then counts only if it does without them. */
async function verify(bed: FaultBed): Promise<string[]> {
  const { rig } = bed;
  // A site to which the VM did not come has no folder of generations, so nothing to verify.
  const holding = sites.filter((site) =>
    existsSync(join(rig.site(site).storePath, guestName, "generations")),
  );
  const paths = holding.map((site) => rig.site(site).storePath);
  for (let tries = 0; tries < liveTries; tries++) {
    const isClean = await verifyPaths(paths).then(
      ({ findings }) => findings.length === 0,
      () => false,
    );
    if (isClean) return [];
    await sleep(tidyingMs);
  }
  const report = await rig.verifyStores(holding);
  for (const site of holding) await bed.restartAgent(site);
  return report.findings.map((finding) => `verify: ${JSON.stringify(finding)}`);
}

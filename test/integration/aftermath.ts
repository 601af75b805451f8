/** What must hold after a leg that was cut off, wherever it was. */

import type { Test } from "tap";
import { counterIn, differences } from "./memory.ts";
import type { Rig } from "./rig.ts";
import { waitFor } from "./wait-for.ts";

/**
 * Checks that the VM runs at `site` alone, that its memory is right and that it has lost no tick since `counter`,
 * that nothing is left over, and that the next leg works. The agents of both sites must be there.
 */
export async function checkAftermath(t: Test, rig: Rig, site: string, counter: number): Promise<void> {
  const other = site === "a" ? "b" : "a";
  await rig.untilAlive(site);
  await Promise.all([rig.idle(site), rig.idle(other)]);
  await waitFor(`no QEMU is left at ${other}`, async () => (await rig.qemuPid(other)) === null || null);
  const memory = await rig.stoppedDump(site);
  t.ok(
    counterIn(memory) >= counter,
    `the guest at ${site} goes on at tick ${counterIn(memory)}, not before ${counter}`,
  );
  t.strictSame(rig.model.check(memory), [], "its memory is what it should have made");
  for (const one of [site, other]) {
    const left = (await rig.generationFolders(one)).filter((name) => !/^\d+$/.test(name));
    t.strictSame(left, [], `nothing unfinished is left in the store of ${one}`);
  }
  const leg = await rig.comparedLeg(site, other);
  t.equal(
    differences(leg.source, leg.destination),
    "",
    "the next leg brings the same memory to the other site",
  );
  await rig.untilAlive(other);
  t.strictSame(rig.runs.overlaps(), [], "never did two copies run");
  const { findings } = await rig.verifyStores([site, other]);
  t.strictSame(findings, [], "the verifier finds nothing wrong");
}

/** True for a progress line of a leg that has sent some megabytes: it is well under way. */
export function isUnderWay(line: { readonly event: string } & Readonly<Record<string, unknown>>): boolean {
  return line.event === "progress" && (line["wireBytes"] as number) > 2e6;
}

/** A rate at which a first leg takes some seconds, in bits a second. */
export const slowBitsPerSecond = 40e6;

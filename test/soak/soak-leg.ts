/** One leg of a long run: the VM must be at the other site then, whatever happened, with all that it had. */

import { readdirSync, readFileSync } from "node:fs";
import { messageOf } from "../../cli/errors.ts";
import { damageOf, filesLeft, untilRemoved } from "../faults/checks.ts";
import type { FaultBed, KnownState } from "../faults/fault-bed.ts";
import type { SeededRandom } from "../faults/seeded-random.ts";
import { type Accident, drawAccident, letHappen } from "./accidents.ts";
import { mostAgentBytes, mostStoreBytes } from "./bounds.ts";
import { bytesUnder } from "./disk-space.ts";
import { changeSomething } from "./working-set.ts";

/** What a leg was. */
export interface SoakLeg {
  readonly from: string;
  readonly to: string;
  readonly accident: Accident["kind"];
  /** When it happened after the leg's beginning; null: nothing did. */
  readonly atMs: number | null;
  /** How the leg ended, after which another one followed if the VM had not moved. */
  readonly end: string;
  /** Of each site. */
  readonly storeBytes: readonly number[];
  readonly agentBytes: readonly number[];
  readonly agentPids: readonly number[];
  /** Open files and sockets. */
  readonly agentFiles: readonly number[];
  readonly violations: readonly string[];
}

const sites = ["a", "b"];

/** Moves the VM to the other site. */
export async function soakLeg(bed: FaultBed, random: SeededRandom, mayKillAgents: boolean): Promise<SoakLeg> {
  const { rig, at: from, other: to } = bed;
  const leftBefore = await filesLeft(bed);
  const overlapsBefore = rig.runs.overlaps().length;
  const accident = drawAccident(random, mayKillAgents);
  const violations: string[] = [];
  let end = "done";
  let hasHappened = false;
  try {
    await changeSomething(bed, random);
    if (accident.kind !== "none") {
      const struck = await struckLeg(bed, accident);
      ({ end, hasHappened } = struck);
      violations.push(...struck.violations);
    }
    // Compared at the switchover, too.
    if (bed.at === from) violations.push(...(await bed.comparedLeg()));
    await bed.settle();
    if (bed.at !== to) violations.push(`the VM is at ${bed.at}`);
    violations.push(...(await damageOf(bed, await bed.know())));
    violations.push(...(await untilRemoved(bed, leftBefore)));
  } catch (error) {
    violations.push(messageOf(error));
  }
  violations.push(...rig.runs.overlaps().slice(overlapsBefore));
  const storeBytes = await Promise.all(sites.map((site) => bytesUnder(rig.site(site).storePath)));
  for (const [i, bytes] of storeBytes.entries()) {
    if (bytes > mostStoreBytes) violations.push(`the store of ${sites[i]} takes ${bytes} bytes`);
  }
  const agentPids = sites.map((site) => rig.site(site).pid);
  const agentBytes = agentPids.map(residentBytes);
  for (const [i, bytes] of agentBytes.entries()) {
    if (bytes > mostAgentBytes) violations.push(`the agent of ${sites[i]} takes ${bytes} bytes`);
  }
  return {
    ...{ from, to, accident: accident.kind, atMs: hasHappened ? accident.atMs : null, end },
    ...{ storeBytes, agentBytes, agentPids, agentFiles: agentPids.map(openFiles), violations },
  };
}

/** A leg to which something happens. The VM is where it belongs then, and as it must be. */
async function struckLeg(
  bed: FaultBed,
  accident: Accident,
): Promise<{ readonly end: string; readonly hasHappened: boolean; readonly violations: string[] }> {
  const before = await bed.know();
  const leg = bed.beginLeg();
  const hasHappened = await letHappen(bed, accident, bed.at, leg);
  const { done, error } = await leg;
  if (done) bed.retain(done.generation, before);
  const { runs } = await bed.settle();
  await bed.retainNewest(before);
  const violations: string[] = [];
  let state: KnownState = before;
  if (!runs) {
    if (accident.kind !== "kill-destination-qemu") violations.push("the VM does not run any more");
    state = await bed.recover();
  }
  violations.push(...(await damageOf(bed, state)));
  return { end: error ? `${error.reason ?? "failed"}: ${error.message}` : "done", hasHappened, violations };
}

function residentBytes(pid: number): number {
  const line = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"));
  return Number(line?.[1] ?? 0) * 1024;
}

function openFiles(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}

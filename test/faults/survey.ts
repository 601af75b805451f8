/** How the two sites of a testbed are, and whether they agree where the VM is. */

import { guestName } from "../../cli/demo/testbed.ts";
import type { Rig } from "../integration/rig.ts";

/** A site as its agent tells it, and as its processes are. */
export interface SiteSurvey {
  /** What its agent says; null while it does not answer. */
  readonly agent: {
    readonly ownership: string;
    readonly epoch: number;
    readonly running: boolean;
    readonly activity: string | null;
    readonly newestGeneration: number | null;
  } | null;
  /** Whether a QEMU of the VM lives there. */
  readonly hasQemu: boolean;
  /** Whether the VM runs in it. */
  readonly runs: boolean;
}

/** Both sites by name. */
export type Survey = Readonly<Record<string, SiteSurvey>>;

/** Where the VM belongs, and whether it runs. */
export interface Agreement {
  readonly owner: string;
  readonly runs: boolean;
}

const unknownVm: NonNullable<SiteSurvey["agent"]> = {
  ownership: "none",
  epoch: 0,
  running: false,
  activity: null,
  newestGeneration: null,
};

/** Looks at both sites. */
export async function survey(rig: Rig): Promise<Survey> {
  const sites = await Promise.all(
    ["a", "b"].map(async (name) => {
      const [agent, pid, runs] = await Promise.all([
        askAgent(rig, name),
        rig.qemuPid(name),
        rig.runsAt(name),
      ]);
      return [name, { agent, hasQemu: pid !== null, runs }] as const;
    }),
  );
  return Object.fromEntries(sites);
}

/**
 * Where the VM is when nothing goes on any more: one site owns it, no handover is open, the other site has no QEMU.
 * Null while that is not so.
 */
export function agreement(sites: Survey): Agreement | null {
  const all = Object.entries(sites);
  if (all.some(([, { agent }]) => agent === null || agent.activity !== null)) return null;
  if (all.some(([, { agent }]) => agent?.ownership === "released")) return null;
  const owners = all.filter(([, { agent }]) => agent?.ownership === "owned");
  const [owner] = owners;
  if (owner === undefined || owners.length > 1) return null;
  if (all.some(([name, { hasQemu }]) => hasQemu && name !== owner[0])) return null;
  const [name, { agent, hasQemu, runs }] = owner;
  // An agent that was started again has to find its QEMU; a QEMU that died has to be noticed.
  if (hasQemu !== runs || agent?.running !== hasQemu) return null;
  return { owner: name, runs };
}

/** A survey as a short text. */
export function describeSurvey(sites: Survey): string {
  return Object.entries(sites)
    .map(([name, { agent, hasQemu, runs }]) => {
      const said = agent === null ? "no answer" : `${agent.ownership} at epoch ${agent.epoch}`;
      const doing = agent?.activity ? `, ${agent.activity}` : "";
      return `${name}: ${said}${doing}, ${runs ? "runs" : hasQemu ? "QEMU stands still" : "no QEMU"}`;
    })
    .join("; ");
}

async function askAgent(rig: Rig, site: string): Promise<SiteSurvey["agent"]> {
  const shown = await rig
    .site(site)
    .ask("list", {})
    .catch(() => null);
  if (shown === null) return null;
  const { vms } = shown as unknown as {
    vms: {
      vm: string;
      ownership: string;
      epoch: number;
      running: boolean;
      newestGeneration: number | null;
      activity: { what: string; state: string } | null;
    }[];
  };
  const found = vms.find(({ vm }) => vm === guestName);
  if (!found) return unknownVm;
  const { activity, ...said } = found;
  return { ...said, activity: activity && `${activity.what} ${activity.state}`.trim() };
}

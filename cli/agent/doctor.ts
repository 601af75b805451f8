/** Finds out how a VM is, here and by what its peers say. Changes nothing. */

import { stat } from "node:fs/promises";
import { join } from "node:path";
import { messageOf } from "../errors.ts";
import { isRunning } from "../qemu/qmp-client.ts";
import { partialPrefix } from "../store/atomic-file.ts";
import { type FenceMarker, readFenceMarker } from "../store/fence-marker.ts";
import { namesIn } from "../store/folder.ts";
import { holdersFolder } from "../store/holders.ts";
import { IntegrityLedger } from "../store/integrity.ts";
import type { OwnershipRecord } from "../store/ownership.ts";
import { isRestartable } from "../store/restartable.ts";
import type { Agent } from "./agent.ts";
import { type BranchLine, describeBranches } from "./branch-list.ts";
import { askPeers, heardOf } from "./claims.ts";
import { judge, type Verdict, type WayOut } from "./doctor-verdict.ts";
import type { ManagedVm } from "./managed-vm.ts";
import { ageOf } from "./recover-words.ts";

/** What one peer says now. */
export interface PeerFinding {
  readonly site: string;
  /** Why it could not be asked; null if it was. */
  readonly problem: string | null;
  /** Its record; null if it does not know the VM, or could not be asked. */
  readonly says: { readonly state: OwnershipRecord["state"]; readonly epoch: number } | null;
}

/** A retained generation. */
export interface GenerationFinding {
  readonly generation: number;
  /** True if it is only there to be built on, and cannot be restarted. */
  readonly seed: boolean;
  readonly createdAt: string;
  readonly ageMs: number;
  /** False if a file of it was touched since it was checked: it is checked before it is used. */
  readonly checked: boolean;
}

/** Everything that is known of a VM. */
export interface Facts {
  readonly vm: string;
  readonly site: string;
  /** Null if it cannot be read. */
  readonly ownership: OwnershipRecord | null;
  readonly qemu: "running" | "paused" | "none" | "unknown";
  readonly activity: string | null;
  readonly peers: readonly PeerFinding[];
  /** Oldest first. */
  readonly generations: readonly GenerationFinding[];
  readonly branches: readonly BranchLine[];
  /** A fencing that has begun and is not complete. */
  readonly fencing: FenceMarker | null;
  /** What cannot be used or is missing. */
  readonly damage: readonly string[];
  /** Files and folders that something interrupted has left. */
  readonly leftovers: readonly string[];
}

/** The answer of `bfmig doctor`. */
export interface Examination extends Facts {
  readonly verdict: Verdict;
  /** Exit code of the command. */
  readonly code: number;
  readonly explanation: readonly string[];
  readonly ways: readonly WayOut[];
}

/** Examines a VM. */
export async function examine(agent: Agent, vm: ManagedVm): Promise<Examination> {
  const facts = await collect(agent, vm);
  return { ...facts, ...judge(facts) };
}

async function collect(agent: Agent, vm: ManagedVm): Promise<Facts> {
  const { store } = vm;
  const damage: string[] = [];
  const orDamage = async <T>(what: Promise<T>, otherwise: T): Promise<T> =>
    await what.catch((error) => {
      damage.push(messageOf(error));
      return otherwise;
    });
  const ownership = await orDamage<OwnershipRecord | null>(agent.ownership.read(vm.name), null);
  const fencing = await orDamage<FenceMarker | null>(readFenceMarker(store.path), null);
  const { generations, unusable } = await store.list();
  const branches = await describeBranches(store);
  for (const { directory, reason } of unusable) damage.push(`${directory} cannot be used: ${reason}`);
  for (const { path, reason } of branches.unusable) damage.push(`${path} cannot be used: ${reason}`);
  const key = await orDamage(agent.keys.read(vm.name), null);
  if (key === null && generations.length > 0)
    damage.push(`the VM's digest key is not in ${agent.config.keys}`);
  damage.push(...(await diskDamage(vm)));
  const ledger = new IntegrityLedger(store);
  return {
    vm: vm.name,
    site: agent.config.site,
    ownership,
    qemu: await qemuState(vm),
    activity: vm.activity?.what ?? null,
    peers: ownership === null ? [] : await askAll(agent, vm),
    generations: await Promise.all(
      generations.map(async (one) => ({
        generation: one.manifest.generation,
        seed: !isRestartable(one),
        createdAt: one.manifest.createdAt,
        ageMs: ageOf(one.manifest.createdAt),
        checked: await ledger.isUntouched(one),
      })),
    ),
    branches: branches.branches,
    fencing,
    damage,
    leftovers: vm.isBusy ? [] : await leftovers(vm),
  };
}

async function askAll(agent: Agent, vm: ManagedVm): Promise<PeerFinding[]> {
  const answers = await askPeers(agent, vm);
  const heard = heardOf(agent, vm, answers);
  return answers.map(({ site, claims, problem }) => {
    const claim = heard.find((one) => one.site === site);
    return {
      site,
      problem: claims === null ? problem : null,
      says: claim ? { state: claim.state, epoch: claim.epoch } : null,
    };
  });
}

async function qemuState({ qemu }: ManagedVm): Promise<Facts["qemu"]> {
  if (qemu === null) return "none";
  return await isRunning(qemu.qmp, { timeoutMs: 3_000 }).then(
    (runs) => (runs ? "running" : "paused"),
    () => "unknown",
  );
}

/** What of the images that the VM writes to, and of those under them, is not there. */
async function diskDamage({ store, definition }: ManagedVm): Promise<string[]> {
  const found: string[] = [];
  try {
    const { images: current } = await store.images.current();
    for (const { id } of definition.disks) {
      if (current[id] === undefined) continue;
      for (const image of await store.images.chain(current[id])) {
        const path = store.images.pathOf(image);
        await stat(path).catch(() => found.push(`disk ${id}: ${path} is missing`));
      }
    }
  } catch (error) {
    found.push(messageOf(error));
  }
  return found;
}

async function leftovers({ store }: ManagedVm): Promise<string[]> {
  const found: string[] = [];
  const folders = [store.path, store.generationsPath, store.branches.path, join(store.path, holdersFolder)];
  for (const folder of folders) {
    for (const name of await namesIn(folder))
      if (name.startsWith(partialPrefix)) found.push(join(folder, name));
  }
  return found;
}

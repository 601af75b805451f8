/** What the next leg of a VM will take: gathers what this agent knows and measures, and predicts from it. */

import { performance } from "node:perf_hooks";
import { type GenerationId, isSeed } from "../../src/generation/manifest.ts";
import { messageOf } from "../errors.ts";
import type { CommonBase } from "../leg/common-base.ts";
import { loadLegCore } from "../leg/leg-core.ts";
import { diskSocketPath } from "../leg/leg-remains.ts";
import { type DiskFacts, measureDisks } from "../predict/disk-facts.ts";
import { GuestMemory } from "../predict/guest-memory.ts";
import { learn, legsTowards, type VmLeg } from "../predict/learned.ts";
import { type GivenLink, type LinkFigures, linkFigures, requireLink } from "../predict/link-figures.ts";
import { type MemoryFacts, measureMemory, type ProbeEffort, probeEfforts } from "../predict/memory-facts.ts";
import { type Prediction, predict } from "../predict/prediction.ts";
import { rememberedFacts } from "../predict/remembered-facts.ts";
import { readDeviceState, readDigests, type StoredGeneration } from "../store/generation-reader.ts";
import { Holders } from "../store/holders.ts";
import { LegHistory } from "../store/leg-history.ts";
import type { Agent } from "./agent.ts";
import type { ManagedVm, RunningQemu } from "./managed-vm.ts";
import { lookOf } from "./memory-watch.ts";
import { legDisks } from "./vm-disks.ts";

/** A leg that may be asked for. */
export interface PlannedLeg {
  readonly to: string;
  readonly downtimeLimitMs: number;
  /** The leg's own limit of its rate, in bits a second; null: none. */
  readonly bitsPerSecond: number | null;
  readonly streams: number;
  readonly link: GivenLink;
}

/** What sampled pages are encoded in takes about this much. */
const sampleCoreBytes = 12 << 20;
/** How much of its disks is read. */
const sampledBlocks = { quick: 512, thorough: 4096 } as const;
const pings = { quick: { count: 1, timeoutMs: 300 }, thorough: { count: 4, timeoutMs: 3000 } } as const;

/** A prediction and what it stands on. */
export interface PredictionReport {
  readonly kind: "first" | "return";
  readonly tracking: "standing" | "scan";
  readonly prediction: Prediction;
  readonly link: LinkFigures;
  readonly memory: MemoryFacts;
  /** Where the figures of the memory come from. */
  readonly memoryFrom: "contents" | "history" | "guess";
  readonly disks: DiskFacts | null;
  /** Earlier legs to that peer that it has learned from, and of this VM. */
  readonly learnedLegs: number;
  readonly legs: readonly VmLeg[];
  /** What the reader should know. */
  readonly notes: readonly string[];
  readonly tookMs: number;
}

/** Predicts a leg; sends nothing but a ping. `effort`: quick while a leg waits for it. Throws OperationError. */
export function predictLegOf(
  agent: Agent,
  vm: ManagedVm,
  planned: PlannedLeg,
  effort: keyof typeof probeEfforts,
): Promise<PredictionReport> {
  requireLink(planned.link);
  // The leg that waits for this takes both over meanwhile: the standing migration and the connection.
  const isStanding = vm.tracking.standing?.state === "held";
  const pinged = pingPeer(agent, planned.to, effort);
  return vm.predicting(async () => {
    const begun = performance.now();
    const qemu = vm.requireQemu();
    const { to } = planned;
    const notes: string[] = [];
    const legs = await legsOfAll(agent);
    const base = await guessBase(agent, vm, to);
    const kind = base.mode === "nothing" ? "first" : "return";
    const learned = learn(legsTowards(legs, to), {
      kind,
      vm: vm.name,
      hasDisks: vm.definition.disks.length > 0,
    });
    // Before anything that would keep this process from hearing the answer.
    const pingMs = await pinged;
    const link = linkFigures({
      given: planned.link,
      configured: agent.config.peers[to]?.link,
      legs: legs.filter((leg) => leg.to === to),
      pingMs,
      streams: planned.streams,
      limit: planned.bitsPerSecond,
    });
    const probe = { agent, vm, qemu, base, bytesPerSecond: link.link.bytesPerSecond, effort };
    const own = legs.filter((leg) => leg.vm === vm.name);
    const memory = await measuredMemory(probe).catch((error) => {
      notes.push(`The guest's memory could not be looked at: ${messageOf(error)}`);
      return null;
    });
    const remembered = memory === null ? rememberedFacts(own, kind, vm.definition.memoryBytes) : null;
    if (remembered) notes.push(remembered.note);
    const disks = await measuredDisks(probe, notes);
    const facts = memory ?? (remembered as NonNullable<typeof remembered>).facts;
    const tracking = isStanding && kind === "return" ? "standing" : "scan";
    const prediction = predict({
      kind,
      tracking,
      memoryBytes: vm.definition.memoryBytes,
      memory: facts,
      memorySpread: remembered?.spread ?? 0.02,
      disks,
      link,
      learned,
      downtimeLimitMs: planned.downtimeLimitMs,
      spentSeconds: effort === "quick" ? (performance.now() - begun) / 1000 : null,
      legs: legsTowards(legs, to),
    });
    notes.push(...notesOf(prediction, link, learned.legs));
    return {
      kind,
      tracking,
      prediction,
      link,
      memory: facts,
      memoryFrom: remembered?.from ?? "contents",
      disks,
      learnedLegs: learned.legs,
      legs: own,
      notes,
      tookMs: Math.round(performance.now() - begun),
    };
  });
}

/** The shortest of some round trips; null if there is no connection, or no answer. */
async function pingPeer(agent: Agent, to: string, effort: keyof typeof pings): Promise<number | null> {
  const connection = agent.peers.peek(to);
  if (connection === null) return null;
  const { count, timeoutMs } = pings[effort];
  const found = connection.rttMs === null ? [] : [connection.rttMs];
  while (found.length < count) {
    const ms = await connection.roundTripMs(timeoutMs);
    if (ms === null) break;
    found.push(ms);
  }
  return found.length > 0 ? Math.min(...found) : null;
}

/** The legs of all VMs out of this site, each with its VM. */
async function legsOfAll(agent: Agent): Promise<VmLeg[]> {
  const histories = agent.list().map(async ({ name, store }) => {
    const legs = await new LegHistory(store.path).read();
    return legs.map((leg) => ({ ...leg, vm: name }));
  });
  return (await Promise.all(histories)).flat();
}

interface Probe {
  readonly agent: Agent;
  readonly vm: ManagedVm;
  readonly qemu: RunningQemu;
  readonly base: CommonBase;
  readonly bytesPerSecond: number;
  readonly effort: keyof typeof probeEfforts;
}

/** Null where the kernel does not show the memory. */
async function measuredMemory({
  agent,
  vm,
  qemu,
  base,
  bytesPerSecond,
  effort,
}: Probe): Promise<MemoryFacts | null> {
  if (qemu.kind !== "process") return null;
  const memory = await GuestMemory.open(qemu.process.pid, qemu.qmp, vm.definition.memoryBytes);
  if (memory === null) return null;
  try {
    const key = await agent.keys.readOrMake(vm.name);
    const newest = memory.isMapped ? (await vm.store.list()).generations.at(-1) : undefined;
    const isBase = base.mode === "content" && base.generation.directory === newest?.directory;
    const mapped = newest && {
      generation: newest,
      digests: isBase ? base.digests : await readDigests(newest),
    };
    const chosen: ProbeEffort = probeEfforts[effort];
    return await measureMemory({
      core: await loadLegCore(sampleCoreBytes),
      key,
      memory,
      base,
      mapped: mapped ?? null,
      bytesPerSecond,
      effort: chosen,
      before: lookOf(qemu),
    });
  } finally {
    memory.close();
  }
}

/** Null without disks, or where they cannot be looked at now. */
async function measuredDisks(
  { agent, vm, qemu, base, bytesPerSecond, effort }: Probe,
  notes: string[],
): Promise<DiskFacts | null> {
  if (vm.definition.disks.length === 0) return null;
  try {
    if (vm.activity !== null && effort !== "quick") throw new Error(`${vm.activity.what} is under way`);
    return await measureDisks({
      core: await loadLegCore(),
      key: await agent.keys.readOrMake(vm.name),
      qmp: qemu.qmp,
      store: vm.store,
      disks: await legDisks(vm, qemu.qmp),
      base,
      socketPath: diskSocketPath(vm.runPath),
      bytesPerSecond,
      sampleBlocks: sampledBlocks[effort],
    });
  } catch (error) {
    notes.push(`The disks could not be looked at, and are left out: ${messageOf(error)}`);
    return null;
  }
}

/** What the peer will say that it holds, as far as is known here without asking it. */
async function guessBase({ core }: Agent, { store }: ManagedVm, to: string): Promise<CommonBase> {
  const holders = new Holders(store.path);
  const { generations } = await store.list();
  const held = (await holders.list()).get(to);
  const isHeld = ({ manifest }: StoredGeneration) =>
    manifest.from === to || manifest.to === to || (held && isSame(manifest, held));
  const here = generations.filter(isHeld).at(-1);
  if (here && (!held || here.manifest.generation >= held.generation)) {
    const device = isSeed(here.manifest) ? null : await readDeviceState(core, here).catch(() => null);
    return { mode: "content", generation: here, digests: await readDigests(here), ...(device && { device }) };
  }
  const own = generations.at(-1);
  const known = held && own ? await holders.readDigests(core, held) : null;
  if (!held || !own || !known) return { mode: "nothing" };
  const ownDigests = await readDigests(own);
  if (ownDigests.length !== known.digests.length) return { mode: "nothing" };
  return { mode: "digests", id: held, digests: known.digests, own, ownDigests };
}

function isSame(manifest: GenerationId, { generation, root }: GenerationId): boolean {
  return manifest.generation === generation && manifest.root === root;
}

function notesOf(prediction: Prediction, link: LinkFigures, legs: number): string[] {
  const notes: string[] = [];
  const { model, converges, downtimeMs } = prediction;
  if (link.rateFrom.startsWith("assumed")) notes.push(`The rate of the link is ${link.rateFrom}`);
  if (legs === 0) notes.push("No leg has left this site so far: its own speeds are assumed");
  if (!converges) {
    const { dirtyBytesPerSecond, workingSetBytes, dirtyPageCost } = model.load;
    const mebibytes = (bytes: number) => `${(bytes / (1 << 20)).toFixed(1)} MiB`;
    notes.push(
      `The leg would not end: the guest writes ${mebibytes(dirtyBytesPerSecond)} a second into ${mebibytes(workingSetBytes)}, ` +
        `which is ${mebibytes(dirtyBytesPerSecond * dirtyPageCost)} a second on the wire, and the link carries ` +
        `${mebibytes(model.link.bytesPerSecond * model.link.efficiency)}; ` +
        `a stop all the same would take ${downtimeMs.value} ms: allow that, more bandwidth, or --on-divergence throttle`,
    );
  }
  return notes;
}

/**
 * Two sites for many cells: the VM goes back and forth between them, and what it must hold is known all the time.
 * Agents can be halted at any step of a leg.
 */

import { rm } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { firstFilledPage, rewriteSeedAddress } from "../../cli/demo/guest.ts";
import { guestName, type TestbedOptions } from "../../cli/demo/testbed.ts";
import { DiskRig } from "../integration/disk-rig.ts";
import type { GuestModel } from "../integration/guest-model.ts";
import { differences } from "../integration/memory.ts";
import type { Change, LegEnd, LegOptions, Rig } from "../integration/rig.ts";
import { waitFor } from "../integration/wait-for.ts";
import { type HaltFile, isHalted } from "./halt-file.ts";
import { endAtExit } from "./last-resort.ts";
import { SmallStores } from "./small-stores.ts";
import { type BothMemories, describeStalePages } from "./stale-pages.ts";
import { type Agreement, agreement, describeSurvey, survey } from "./survey.ts";
import { Teardowns } from "./teardowns.ts";

const MIB = 1 << 20;
const PAGE = 4096;
const diskName = "disk0";
/** Pages of the filled area that the guest changes all the time, and all of them. */
export const workingPages = 512;
export const filledPages = 2048;
export const diskBytes = 16 * MIB + 512;
/** What cells change of memory, above the working set. */
const changedPages = { count: 384, steps: 4 } as const;

/** Not a multiple of 256 KiB, since QEMU 7.2 under TCG would lose writes. */
const guest: Partial<TestbedOptions> = {
  memoryBytes: 32 * MIB - 8192,
  fillBytes: filledPages * PAGE,
  // So much that QEMU never stops the VM by itself after its first pass.
  workingSetBytes: workingPages * PAGE,
  dirtyPagesPerSecond: 20_000,
  rateBitsPerSecond: 200e6,
  rttMs: 10,
};

/** More than the generations that sites keep, and the states in between. */
const mostKnown = 16;

/** The other side of a leg comes to its end within this. */
const afterwardsMs = 5_000;
const startsWithinMs = 60_000;

/** A state that the VM had. */
export interface KnownState {
  readonly model: GuestModel;
  /** Of the disks; see DiskRig.keepTwins. */
  readonly twins: ReadonlyMap<string, string>;
  readonly counter: number;
}

/** The testbed. Close it whatever happens. */
export class FaultBed {
  readonly disks: DiskRig;
  /** Null: the stores lie in a common folder. */
  readonly stores: SmallStores | null;
  /** Where the VM is. */
  at = "a";
  /** Something went wrong here: what follows would show that again. */
  isSpoilt = false;
  /** What memory must hold now. */
  model: GuestModel;
  private readonly teardowns: Teardowns;
  private readonly endRest: () => string[];
  /** What generations hold, by number. */
  private readonly retained = new Map<number, KnownState>();
  private readonly known: KnownState[] = [];
  private changes = 0;

  private constructor(
    disks: DiskRig,
    stores: SmallStores | null,
    teardowns: Teardowns,
    endRest: () => string[],
  ) {
    this.disks = disks;
    this.stores = stores;
    this.teardowns = teardowns;
    this.endRest = endRest;
    this.model = disks.rig.model.copy();
  }

  /** Starts the sites and the guest at a. With `areStoresSmall` root must run this. */
  static async boot(areStoresSmall: boolean, changes: Partial<TestbedOptions> = {}): Promise<FaultBed> {
    const teardowns = new Teardowns();
    try {
      const stores = areStoresSmall ? await SmallStores.mount(teardowns, ["a", "b"]) : null;
      const disks = await DiskRig.boot(
        teardowns,
        [{ id: diskName, lengthBytes: diskBytes, initial: ["write -P 17 0 1M"] }],
        { ...guest, ...(stores && { keepFolder: stores.folder }), ...changes },
      );
      const { socketFolder } = disks.rig.testbed;
      const folders = [socketFolder, disks.folder, ...(stores ? [stores.folder] : [])];
      const endRest = endAtExit(folders);
      return new FaultBed(disks, stores, teardowns, endRest);
    } catch (error) {
      await teardowns.run().catch(() => {});
      throw error;
    }
  }

  get rig(): Rig {
    return this.disks.rig;
  }

  /** Where agents halt by themselves. */
  get halts(): HaltFile {
    return this.rig.halts;
  }

  /** The site where the VM is not. */
  get other(): string {
    return otherSite(this.at);
  }

  /** Has the guest change some of its memory and its disk. */
  async change(): Promise<void> {
    const n = this.changes++;
    const first = workingPages + (n % changedPages.steps) * changedPages.count;
    await this.changeMemory("rewrite", first, changedPages.count);
    await this.changeDisk(`write -P ${(n % 250) + 1} ${n % 15}M 300k`);
  }

  /** Has the guest change pages of its filled area above the working set. */
  async changeMemory(what: Change, first: number, count: number): Promise<void> {
    const { at, model, rig } = this;
    await rig.onConsole(at, (guest) => guest[what](firstFilledPage + first, count));
    if (what === "rewrite") model.rewrite(first, count, await rig.word(at, rewriteSeedAddress));
    else model[what](first, count);
  }

  /** Has the guest do something with its disk; see DiskRig.io. */
  async changeDisk(command: string): Promise<void> {
    await this.disks.io(this.at, diskName, command);
  }

  /** Keeps what the VM must hold now. What was kept long ago is removed. */
  async know(): Promise<KnownState> {
    const state = {
      model: this.model.copy(),
      twins: await this.disks.keepTwins(),
      counter: await this.rig.counter(this.at),
    };
    this.known.push(state);
    for (const { twins } of this.known.splice(0, this.known.length - mostKnown)) {
      for (const path of twins.values()) await rm(path);
    }
    return state;
  }

  /** Says what a generation holds, if that is not known. */
  retain(generation: number, state: KnownState): void {
    if (!this.retained.has(generation)) this.retained.set(generation, state);
  }

  /** Says it of the newest generations that the sites have: a leg that failed for its source may have made one. */
  async retainNewest(state: KnownState): Promise<void> {
    for (const { agent } of Object.values(await survey(this.rig))) {
      if (agent?.newestGeneration) this.retain(agent.newestGeneration, state);
    }
  }

  /** Restarts the VM from the newest generation where it belongs. Returns what it must hold from now on. */
  async recover(): Promise<KnownState> {
    const body = { vm: guestName, generation: null, force: false };
    const done = await this.rig.site(this.at).ask("recover", body);
    const { generation } = done as unknown as { generation: number };
    const state = this.retained.get(generation);
    if (state === undefined) throw new Error(`nobody knows what generation ${generation} must hold`);
    await this.rig.untilAlive(this.at);
    this.model = state.model.copy();
    await this.disks.restoreTwins(state.twins);
    return state;
  }

  /** A leg to the other site; told without ever rejecting. */
  beginLeg(options: LegOptions = {}): Promise<LegEnd> {
    return this.rig.begin(this.at, this.other, options);
  }

  /** Waits until an agent has halted at a step of a leg. False if the leg ends without it ever coming there. */
  async haltAt(step: string, site: string, leg: Promise<unknown>): Promise<boolean> {
    let endedAt = Number.POSITIVE_INFINITY;
    leg.finally(() => {
      endedAt = Date.now();
    });
    const { pid } = this.rig.site(site);
    await waitFor(`${step} at ${site}`, () =>
      isHalted(pid) || Date.now() > endedAt + afterwardsMs ? true : null,
    );
    if (isHalted(pid)) return true;
    await this.halts.clear();
    return false;
  }

  /** Lets an agent go on that was halted. */
  goOn(site: string): void {
    process.kill(this.rig.site(site).pid, "SIGCONT");
  }

  /** Copies that run now. */
  async copiesRunning(): Promise<number> {
    const running = await Promise.all(["a", "b"].map((site) => this.rig.runsAt(site)));
    return running.filter(Boolean).length;
  }

  /** Waits until the sites agree where the VM is, and takes note. */
  async settle(): Promise<Agreement> {
    let last = "";
    const agreed = await waitFor("agreement", async () => {
      const sites = await survey(this.rig);
      last = describeSurvey(sites);
      return agreement(sites);
    }).catch(() => {
      throw new Error(last);
    });
    this.at = agreed.owner;
    return agreed;
  }

  /**
   * A leg to the other site at whose switchover memory and disks of both sites are compared, with each other and with
   * what must be there. Returns what was wrong.
   */
  async comparedLeg(options: LegOptions = {}): Promise<string[]> {
    const { rig, at: from, other: to } = this;
    const before = await this.know();
    // Both have everything; QEMU was not told so.
    await this.halts.set("source:completing");
    const leg = this.beginLeg(options);
    if (!(await this.haltAt("source:completing", from, leg))) {
      return [(await leg).error?.message ?? "the leg was not halted"];
    }
    const found: string[] = [];
    let stale: BothMemories | null = null;
    try {
      const [source, destination] = [await rig.dump(from), await rig.dump(to)];
      const different = differences(source, destination);
      if (different !== "") {
        found.push(`memory: ${different}`);
        stale = { source, destination };
      }
      found.push(...this.model.check(source).slice(0, 5));
      for (const site of [from, to]) found.push(...(await this.disks.differences(site)));
    } finally {
      this.goOn(from);
    }
    const { done, error } = await leg;
    if (error) return [...found, error.message];
    if (stale) found.push(...(await describeStalePages(stale, rig.site(to).storePath, done.generation)));
    this.retain(done.generation, before);
    this.at = to;
    await rig.untilAlive(to);
    return found;
  }

  /** Starts the agent of a site again. Throws if it does not come up; what there is of it is ended with the testbed. */
  async restartAgent(site: string): Promise<void> {
    const started = this.rig.testbed.restartSite(site);
    started.catch(() => {});
    if ((await Promise.race([started, sleep(startsWithinMs, null, { ref: false })])) === null) {
      throw new Error(`the agent of ${site} was started again and is not ready after ${startsWithinMs} ms`);
    }
  }

  /** Ends and removes everything. Returns processes that were left. */
  async close(): Promise<string[]> {
    await this.teardowns.run();
    return this.endRest();
  }
}

/** The other one of two sites. */
export function otherSite(site: string): string {
  return site === "a" ? "b" : "a";
}

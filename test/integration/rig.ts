/**
 * Sites, links and a guest for a test: agents and QEMU as processes, with a monitor of the test's own at every
 * QEMU. Whatever a test leaves behind is ended and removed after it.
 */

import { randomUUID } from "node:crypto";
import { readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { MigrateDone } from "../../cli/agent/migrate.ts";
import type { ControlLine } from "../../cli/control-client.ts";
import { firstFilledPage, rewriteSeedAddress } from "../../cli/demo/guest.ts";
import { type GuestConsole, readCounter, readWord } from "../../cli/demo/guest-console.ts";
import { guestName, Testbed, type TestbedOptions } from "../../cli/demo/testbed.ts";
import { killBlockHost } from "../../cli/disk/block-host.ts";
import type { OperationError } from "../../cli/errors.ts";
import { RunLog } from "../../cli/experiments/run-log.ts";
import type { DivergencePolicy } from "../../cli/leg/divergence.ts";
import { findRecord } from "../../cli/qemu/process-record.ts";
import { isRunning, type QmpClient } from "../../cli/qemu/qmp-client.ts";
import { namesIn } from "../../cli/store/folder.ts";
import type { VerifyReport } from "../../cli/verify/report.ts";
import { verifyPaths } from "../../cli/verify/verify.ts";
import { HaltFile, isHalted } from "../faults/halt-file.ts";
import { testMachine, testQemu } from "../qemu/test-qemu.ts";
import { endOnSignal } from "./end-on-signal.ts";
import { GuestModel } from "./guest-model.ts";
import { waitFor } from "./wait-for.ts";

const MIB = 1 << 20;
const PAGE = 4096;

/** No leg of a test takes so long. */
const stuckMs = 90_000;

/**
 * Long: over the slow links of some tests the guest writes its working set anew in less time than the link needs for it, and
 * a leg that has to keep a short limit would never end.
 */
const defaultDowntimeLimitMs = 3000;

/** A small guest on a fast link; not a multiple of 256 KiB, since QEMU 7.2 under TCG would lose writes. */
const defaults: TestbedOptions = {
  memoryBytes: 65528 * 1024,
  fillBytes: 32 * MIB,
  workingSetBytes: 4 * MIB,
  dirtyPagesPerSecond: 2000,
  rateBitsPerSecond: 1e9,
  // Long enough that an agent can be halted between two messages of the handover.
  rttMs: 20,
  keepFolder: null,
  qemuBinary: testQemu,
  machine: testMachine,
};

/** The destination's QEMU has loaded everything; PREPARED was not sent. */
const handoverStep = "destination:prepared";
const handoverPollMs = 5;

/** What a test needs of tap. */
export interface Teardown {
  teardown(work: () => unknown): void;
}

/** What the guest can do with pages. */
export type Change = "zero" | "refill" | "rewrite" | "increment";

/** How a leg is asked for, where not as usual. */
export interface LegOptions {
  readonly downtimeLimitMs?: number;
  readonly timeoutMs?: number;
  readonly linkTimeoutMs?: number;
  readonly bitsPerSecond?: number;
  readonly onDivergence?: DivergencePolicy;
  readonly streams?: number;
  readonly signal?: AbortSignal;
  readonly onLine?: (line: ControlLine) => void;
  /** In a compared leg: reads more while neither copy runs. */
  readonly whileStill?: () => Promise<void>;
}

/** A leg during which both sites' guest memory was read while neither copy ran. */
export interface ComparedLeg {
  readonly done: MigrateDone;
  readonly source: Buffer;
  readonly destination: Buffer;
}

/** How a leg ended. */
export type LegEnd =
  | { readonly done: MigrateDone; readonly error: null }
  | { readonly done: null; readonly error: OperationError };

/** Sites with a guest. */
export class Rig {
  readonly testbed: Testbed;
  readonly runs: RunLog;
  readonly model: GuestModel;
  /** Where agents halt by themselves. */
  readonly halts: HaltFile;
  private readonly halted = new Set<string>();
  private readonly consoles = new Set<GuestConsole>();
  private readonly stopWatching: () => void;
  private starting: Promise<void> | null = null;

  private constructor(testbed: Testbed, siteNames: readonly string[], halts: HaltFile) {
    this.testbed = testbed;
    this.halts = halts;
    const { fillBytes, workingSetBytes, dirtyPagesPerSecond } = testbed.options;
    this.model = new GuestModel({
      fillPages: fillBytes / PAGE,
      workingPages: workingSetBytes / PAGE,
      dirtyPagesPerTick: Math.round(dirtyPagesPerSecond / 100),
    });
    this.runs = new RunLog(
      Object.fromEntries(siteNames.map((name) => [name, monitorPath(name, testbed.socketFolder)])),
    );
    this.stopWatching = endOnSignal(testbed);
  }

  /** Starts the sites; the guest is defined at the first one. */
  static async start(test: Teardown, changes: Partial<TestbedOptions> = {}): Promise<Rig> {
    const options = { ...defaults, ...changes };
    const halts = new HaltFile(join(tmpdir(), `bfmig-halt-${randomUUID()}`));
    const testbed = await Testbed.create({
      ...options,
      moreArguments: (site, folder) => [
        ...["-qmp", `unix:${monitorPath(site, folder)},server=on,wait=off`],
        ...(changes.moreArguments?.(site, folder) ?? []),
      ],
      env: halts.environmentWith(changes.env),
    });
    const rig = new Rig(testbed, options.siteNames ?? ["a", "b"], halts);
    test.teardown(() => rig.close());
    rig.starting = testbed.startSites();
    await rig.starting;
    return rig;
  }

  /** Starts the sites, and the guest at the first one; returns when the guest has filled its memory. */
  static async boot(test: Teardown, changes: Partial<TestbedOptions> = {}): Promise<Rig> {
    const rig = await Rig.start(test, changes);
    const [first] = changes.siteNames ?? ["a"];
    await rig.site(first as string).ask("start", { vm: guestName });
    await rig.onConsole(first as string, (guest) => guest.ready());
    return rig;
  }

  site(name: string) {
    return this.testbed.site(name);
  }

  /** The test's monitor at a site's QEMU; waits for it. */
  async monitor(site: string): Promise<QmpClient> {
    return await waitFor(`a QEMU at ${site}`, () => this.runs.monitor(site));
  }

  /** Does something on the guest's console. */
  async onConsole<T>(site: string, action: (guest: GuestConsole) => Promise<T>): Promise<T> {
    const guest = await this.testbed.openConsole(site);
    this.consoles.add(guest);
    try {
      return await action(guest);
    } finally {
      guest.close();
      this.consoles.delete(guest);
    }
  }

  /** Has the guest change pages of its filled area, numbered from the area's beginning; the model follows. */
  async change(site: string, what: Change, first: number, count: number): Promise<void> {
    await this.onConsole(site, (guest) => guest[what](firstFilledPage + first, count));
    if (what === "rewrite") this.model.rewrite(first, count, await this.word(site, rewriteSeedAddress));
    else this.model[what](first, count);
  }

  async counter(site: string): Promise<number> {
    return await readCounter(await this.monitor(site));
  }

  async word(site: string, address: number): Promise<number> {
    return await readWord(await this.monitor(site), address);
  }

  /** Waits until the guest has lived for so many ticks from now on. */
  async ticks(site: string, count: number): Promise<void> {
    const until = (await this.counter(site)) + count;
    await waitFor(`${count} ticks at ${site}`, async () => (await this.counter(site)) >= until || null);
  }

  /** True if the VM runs at a site now. */
  async runsAt(site: string): Promise<boolean> {
    const monitor = this.runs.monitor(site);
    return monitor !== null && (await isRunning(monitor).catch(() => false));
  }

  /** Waits until the VM runs at a site, and the guest lives. */
  async untilAlive(site: string): Promise<void> {
    await waitFor(`the VM runs at ${site}`, async () => (await this.runsAt(site)) || null);
    await this.ticks(site, 2);
  }

  /** Guest memory as the guest sees it. */
  async dump(site: string): Promise<Buffer> {
    const filename = join(this.testbed.socketFolder, `dump-${site}.bin`);
    const monitor = await this.monitor(site);
    await monitor.execute("pmemsave", { val: 0, size: this.testbed.options.memoryBytes, filename });
    const memory = await readFile(filename);
    await rm(filename);
    return memory;
  }

  /** Guest memory while the VM stands still for a moment. */
  async stoppedDump(site: string): Promise<Buffer> {
    const monitor = await this.monitor(site);
    await monitor.execute("stop");
    try {
      return await this.dump(site);
    } finally {
      await monitor.execute("cont");
    }
  }

  /** One leg. Rejects with what both sites say of themselves if it never ends. */
  async migrate(from: string, to: string, options: LegOptions = {}): Promise<MigrateDone> {
    const { downtimeLimitMs = defaultDowntimeLimitMs, timeoutMs = null, bitsPerSecond = null } = options;
    const { linkTimeoutMs, onDivergence, streams } = options;
    const limits = { downtimeLimitMs, timeoutMs, bitsPerSecond, linkTimeoutMs, onDivergence, streams };
    const body = { vm: guestName, to, ...limits };
    const ended = new AbortController();
    const stuck = sleep(stuckMs, undefined, { signal: ended.signal }).then(async () => {
      throw new Error(`The leg from ${from} to ${to} never ends\n${await this.condition()}`);
    });
    const done = this.site(from).ask("migrate", body, options.onLine, options.signal);
    try {
      return (await Promise.race([done, stuck])) as unknown as MigrateDone;
    } finally {
      ended.abort();
      stuck.catch(() => {});
      done.catch(() => {});
    }
  }

  /** What agents and QEMUs say, for the message of a test that fails. */
  async condition(): Promise<string> {
    const parts = [...this.testbed.sites].map(async ([name, site]) => {
      const monitor = this.runs.monitor(name);
      const asked = (what: string) =>
        monitor?.execute(what, undefined, { timeoutMs: 2000 }).then(JSON.stringify, String) ?? "no QEMU";
      const list = Promise.race([site.ask("list", {}), sleep(2000, "no answer")]);
      return [
        `site ${name}: ${JSON.stringify(await list.catch(String))}`,
        `its QEMU: ${await asked("query-status")} ${await asked("query-migrate")}`,
        site.logTail,
      ].join("\n");
    });
    return (await Promise.all(parts)).join("\n");
  }

  /** A leg that is cut off at some point: how it ends, told without ever rejecting. */
  begin(from: string, to: string, options: LegOptions = {}): Promise<LegEnd> {
    return this.migrate(from, to, options).then(
      (done) => ({ done, error: null }),
      (error) => ({ done: null, error }),
    );
  }

  /** Before a leg: its destination's agent is to halt when its QEMU has loaded everything. */
  async expectHandover(): Promise<void> {
    await this.halts.set(handoverStep);
  }

  /**
   * Waits until it does, then halts the source's agent and lets the destination's go on: PREPARED is on its way then. False
   * if the leg was over before.
   */
  async haltAtHandover(from: string, to: string, isOver: () => boolean): Promise<boolean> {
    const hasHalted = () => !this.halts.isSet && isHalted(this.site(to).pid);
    while (!hasHalted() && !isOver()) await sleep(handoverPollMs);
    if (!hasHalted()) return false;
    this.halt(from);
    process.kill(this.site(to).pid, "SIGCONT");
    return true;
  }

  /** Halts a site's agent where it is; `resume` lets it go on. */
  halt(site: string): void {
    this.halted.add(site);
    process.kill(this.site(site).pid, "SIGSTOP");
  }

  resume(site: string): void {
    this.halted.delete(site);
    process.kill(this.site(site).pid, "SIGCONT");
  }

  /** Waits until a site's agent does nothing with the VM. */
  async idle(site: string): Promise<void> {
    await waitFor(`site ${site} is idle`, async () => {
      const { vms } = (await this.site(site).ask("list", {})) as unknown as { vms: { activity: unknown }[] };
      return vms.every(({ activity }) => activity === null) || null;
    });
  }

  /**
   * One leg in which the source's agent is halted when the destination's QEMU has loaded everything. That QEMU
   * then waits for COMMIT, the source's for its answer: both copies stand still and can be read.
   */
  async comparedLeg(from: string, to: string, options: LegOptions = {}): Promise<ComparedLeg> {
    let isOver = false;
    await this.expectHandover();
    const reading = this.readBoth(from, to, () => isOver, options.whileStill);
    reading.catch(() => {});
    try {
      const done = await this.migrate(from, to, options);
      return { done, ...(await reading) };
    } finally {
      isOver = true;
      await this.halts.clear();
    }
  }

  /** What the offline verifier says of the sites' stores; their agents are ended for it. */
  async verifyStores(sites: readonly string[]): Promise<VerifyReport> {
    await Promise.all(sites.map((name) => this.site(name).stop()));
    return await verifyPaths(sites.map((name) => this.site(name).storePath));
  }

  /** Names in a site's folder of generations; none if there is no such folder. */
  async generationFolders(site: string): Promise<string[]> {
    // The agent may remove the folder at any moment.
    return (await namesIn(join(this.site(site).storePath, guestName, "generations"))).sort();
  }

  /** Pid of the QEMU that a site's folder knows; null if none lives. */
  async qemuPid(site: string): Promise<number | null> {
    return (await findRecord(this.site(site).runPath(guestName)))?.pid ?? null;
  }

  /** Ends a site's QEMU as a crash would; returns when its agent has noticed, if it lives and is not halted. */
  async killQemu(site: string): Promise<void> {
    const pid = await waitFor(`a QEMU at ${site}`, () => this.qemuPid(site));
    process.kill(pid, "SIGKILL");
    await waitFor("QEMU is gone", async () => (await this.qemuPid(site)) === null || null);
    if (this.halted.has(site)) return;
    await waitFor("the agent has noticed", async () => {
      const shown = await this.site(site)
        .ask("show", { vm: guestName })
        .catch(() => ({ running: false }));
      return shown.running === false || null;
    });
  }

  private async readBoth(
    from: string,
    to: string,
    isOver: () => boolean,
    whileStill: (() => Promise<void>) | undefined,
  ): Promise<Omit<ComparedLeg, "done">> {
    if (!(await this.haltAtHandover(from, to, isOver))) throw new Error("the leg never came to its end");
    try {
      const source = await this.dump(from);
      const destination = await this.dump(to);
      await whileStill?.();
      if ((await this.runsAt(from)) || (await this.runsAt(to))) {
        throw new Error("a copy ran while memory was read");
      }
      return { source, destination };
    } finally {
      this.resume(from);
    }
  }

  /** Ends everything, whatever fails on the way: a teardown that throws would keep the others from running. */
  private async close(): Promise<void> {
    this.stopWatching();
    for (const guest of this.consoles) guest.close();
    await Promise.allSettled([this.starting, this.runs.close()]);
    await Promise.allSettled([...this.testbed.sites.keys()].map((name) => this.endSite(name)));
    await this.testbed.close().catch(() => {});
    await this.halts.clear();
    await rm(this.testbed.socketFolder, { recursive: true, force: true, maxRetries: 5 });
  }

  private async endSite(name: string): Promise<void> {
    // This signal also ends a process that is halted.
    await this.site(name).kill();
    for (let pid = await this.qemuPid(name); pid !== null; pid = await this.qemuPid(name)) {
      process.kill(pid, "SIGKILL");
      await sleep(20);
    }
    await killBlockHost(this.site(name).runPath(guestName));
  }
}

function monitorPath(site: string, socketFolder: string): string {
  return join(socketFolder, `${site}.mon`);
}

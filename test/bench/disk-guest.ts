/** A guest with little memory and a disk, for benchmarks of disk legs: it goes to the other site at each leg. */

import type { MigrateDone } from "../../cli/agent/migrate.ts";
import type { DemoDisk, DemoDiskOptions } from "../../cli/demo/demo-disk.ts";
import type { GuestDisk } from "../../cli/demo/guest-disk.ts";
import { guestName, safeMemoryBytes, Testbed } from "../../cli/demo/testbed.ts";
import { peakResidentBytes, untilQuiet } from "./measure.ts";

const mebibyte = 2 ** 20;

/** How long the guest may stand still. */
export const downtimeLimitMs = 300;

/** The disk and the link. */
export interface DiskGuestOptions {
  readonly disk: DemoDiskOptions;
  readonly rateBitsPerSecond: number;
  readonly rttMs: number;
}

/** Makes a testbed with a guest of 32 MiB that changes next to nothing of its memory. */
export async function diskTestbed({ disk, rateBitsPerSecond, rttMs }: DiskGuestOptions): Promise<Testbed> {
  return await Testbed.create({
    memoryBytes: await safeMemoryBytes(32 * mebibyte, "qemu-system-x86_64"),
    fillBytes: 2 * mebibyte,
    workingSetBytes: mebibyte,
    dirtyPagesPerSecond: 100,
    rateBitsPerSecond,
    rttMs,
    keepFolder: null,
    disk,
  });
}

/** A guest between two sites. */
export class DiskGuest {
  readonly disk: DemoDisk;
  private readonly testbed: Testbed;
  private at = "a";

  private constructor(testbed: Testbed) {
    this.testbed = testbed;
    this.disk = testbed.disk as DemoDisk;
  }

  /** Runs `work` with a guest that was started at site a, and removes everything at the end. */
  static async with<T>(options: DiskGuestOptions, work: (guest: DiskGuest) => Promise<T>): Promise<T> {
    const testbed = await diskTestbed(options);
    try {
      await testbed.startSites();
      await testbed.site("a").ask("start", { vm: guestName });
      const console = await testbed.openConsole("a");
      await console.ready();
      console.close();
      return await work(new DiskGuest(testbed));
    } finally {
      await testbed.close();
    }
  }

  /** Process of the agent where the guest is. */
  get agentPid(): number {
    return this.testbed.site(this.at).pid;
  }

  /** Highest resident bytes of an agent so far. */
  get agentPeakBytes(): number {
    return Math.max(...[...this.testbed.sites.values()].map(({ pid }) => peakResidentBytes(pid)));
  }

  /** Waits until both agents have tidied up after a leg. */
  async settled(): Promise<void> {
    await untilQuiet([...this.testbed.sites.values()].map(({ pid }) => pid));
  }

  /** Moves the guest to the other site. */
  async leg(): Promise<MigrateDone> {
    const to = this.at === "a" ? "b" : "a";
    const body = { vm: guestName, to, downtimeLimitMs, timeoutMs: null, bitsPerSecond: null };
    const done = await this.testbed.site(this.at).ask("migrate", body);
    this.at = to;
    return done as unknown as MigrateDone;
  }

  /** Works with the disk where the guest is. */
  async onDisk<T>(work: (disk: GuestDisk) => Promise<T>): Promise<T> {
    const disk = await this.testbed.openDisk(this.at);
    try {
      return await work(disk);
    } finally {
      disk.close();
    }
  }
}

/**
 * A rig whose VM has disks. The guest's writes are made by qemu-io inside the QEMU where the VM runs; each is made
 * again in a raw twin file, which is what the disk must contain. Files are in a folder of their own.
 *
 *   const disks = await DiskRig.boot(t, [{ id: "disk0", lengthBytes: 64 << 20 }]);
 *   await disks.io("a", "disk0", "write -P 7 1M 300k");
 *   const { done, different } = await disks.comparedLeg("a", "b");
 */

import { randomBytes } from "node:crypto";
import { constants, copyFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { MigrateDone } from "../../cli/agent/migrate.ts";
import { guestName, type TestbedOptions } from "../../cli/demo/testbed.ts";
import { isRunning } from "../../cli/qemu/qmp-client.ts";
import { VmStore } from "../../cli/store/vm-store.ts";
import { loadCore } from "../../src/core.ts";
import { makeDisks, type TestDisk } from "./disk-files.ts";
import {
  bytesIn,
  differentBlocks,
  fileOf,
  flushed,
  type Inserted,
  readFileRange,
  readRange,
  runQemuIo,
  writeContent,
  writeRaw,
} from "./disk-tools.ts";
import { type LegOptions, Rig, type Teardown } from "./rig.ts";

export type { TestDisk } from "./disk-files.ts";

/** A leg at whose switchover all disks were read, at both sites, while neither copy ran. */
export interface ComparedDisks {
  readonly done: MigrateDone;
  /** Guest memory of both sites. */
  readonly source: Buffer;
  readonly destination: Buffer;
  /** Each difference between a site's disk and what the disk must contain; empty if all is well. */
  readonly different: readonly string[];
}

/** A disk of a running QEMU. */
interface AttachedDisk extends Inserted {
  readonly qdev: string;
}

/** Sites, with a guest that has disks. */
export class DiskRig {
  readonly rig: Rig;
  readonly disks: readonly TestDisk[];
  /** Where the disks' files, the twins and what was read are. */
  readonly folder: string;
  private reads = 0;

  private constructor(rig: Rig, disks: readonly TestDisk[], folder: string) {
    this.rig = rig;
    this.disks = disks;
    this.folder = folder;
  }

  /** Makes the files and starts the sites; the guest is defined at the first one. */
  static async start(
    test: Teardown,
    disks: readonly TestDisk[],
    changes: Partial<TestbedOptions> = {},
  ): Promise<DiskRig> {
    const folder = await makeDisks(test, disks);
    return new DiskRig(await Rig.start(test, optionsFor(folder, disks, changes)), disks, folder);
  }

  /** The same, with the guest running at the first site. */
  static async boot(
    test: Teardown,
    disks: readonly TestDisk[],
    changes: Partial<TestbedOptions> = {},
  ): Promise<DiskRig> {
    const folder = await makeDisks(test, disks);
    return new DiskRig(await Rig.boot(test, optionsFor(folder, disks, changes)), disks, folder);
  }

  /** The file that a disk began with. */
  filePath(id: string): string {
    return join(this.folder, `${id}.img`);
  }

  /** The raw file that has what the disk must contain. */
  twinPath(id: string): string {
    return join(this.folder, `${id}.twin`);
  }

  /**
   * Has the guest do something with a disk: `write -P …`, `write -z …`, `write -s FILE …`, `discard …`, with offset and
   * length at the end, in multiples of 512 (of 64 KiB for `discard`, which must read as zeroes). The twin follows.
   * Throws if the disk does not contain it then: qemu-io does not tell the monitor when something fails.
   */
  async io(site: string, id: string, command: string): Promise<void> {
    const twin = this.twinPath(id);
    await runQemuIo(["-f", "raw", "-c", command.replace(/^discard/, "write -z"), twin]);
    const { qdev } = await this.attached(site, id);
    await this.plainIo(site, qdev, command);
    await this.plainIo(site, qdev, "flush");
    const [offset, length] = command.split(" ").slice(-2).map(bytesIn) as [number, number];
    const expected = await readFileRange(twin, offset, length);
    const isDone = await this.throughChain(
      site,
      id,
      async (chain) => expected.equals(await readRange(chain, offset, length, this.nextFile())),
      (isEqual) => isEqual,
    );
    if (!isDone) throw new Error(`${command} at ${site} has not changed ${id} as it should have`);
  }

  /** Has the guest fill a range with random bytes. */
  async fill(site: string, id: string, offset: number, length: number): Promise<void> {
    const path = this.nextFile();
    await writeFile(path, randomBytes(Math.min(length, 1 << 20)));
    await this.io(site, id, `write -s ${path} ${offset} ${length}`);
    await rm(path);
  }

  /**
   * Does something to the VM's disks while a leg from `site` goes on: the agent is halted for it, so that the switchover
   * cannot come in between. Returns false, and does nothing, if the leg was too near to its end for that.
   */
  async duringRounds(site: string, action: () => Promise<void>): Promise<boolean> {
    this.rig.halt(site);
    try {
      // What the agent has told QEMU before is done by then.
      await sleep(50);
      const monitor = await this.rig.monitor(site);
      const parameters = await monitor.execute<{ "downtime-limit": number }>("query-migrate-parameters");
      // With another limit QEMU might stop the VM without its agent.
      if (parameters["downtime-limit"] !== 1 || !(await isRunning(monitor))) return false;
      await action();
      if (!(await isRunning(monitor)))
        throw new Error(`the VM at ${site} was stopped though its agent is halted`);
      return true;
    } finally {
      this.rig.resume(site);
    }
  }

  /**
   * Calls `action` during a leg that goes on as `leg`, at most so many times: the agent does nothing meanwhile, and must
   * come to an end. Returns how often it was called.
   */
  async throughoutLeg(
    site: string,
    leg: Promise<unknown>,
    atMost: number,
    action: (n: number) => Promise<void>,
  ): Promise<number> {
    let isOver = false;
    const over = () => {
      isOver = true;
    };
    leg.then(over, over);
    let done = 0;
    const isMigrating = async () => {
      const info = await this.rig.runs.monitor(site)?.execute<{ status?: string }>("query-migrate");
      return info?.status === "active";
    };
    while (!isOver && done < atMost) {
      if ((await isMigrating().catch(() => false)) && (await this.duringRounds(site, () => action(done))))
        done++;
      await sleep(150);
    }
    return done;
  }

  /** The whole content of a disk of a site's QEMU, as a raw file. The VM may run or stand still. */
  async readDisk(site: string, id: string): Promise<string> {
    const path = this.nextFile();
    await this.flush(site, id);
    await this.throughChain(
      site,
      id,
      (chain) => writeRaw(chain, path),
      () => true,
    );
    return path;
  }

  /** What of a site's disks is not as it must be; empty if all is well. */
  async differences(site: string): Promise<string[]> {
    const found: string[] = [];
    for (const { id } of this.disks) {
      const path = this.nextFile();
      await this.flush(site, id);
      const read = async (chain: string) => {
        await writeRaw(chain, path);
        return await differentBlocks(path, this.twinPath(id));
      };
      const different = await this.throughChain(site, id, read, (text) => text === "");
      if (different !== "") found.push(`${id} at ${site}: ${different}`);
      await rm(path);
    }
    return found;
  }

  /** One leg; memory and disks of both sites are read at the switchover. */
  async comparedLeg(from: string, to: string, options: LegOptions = {}): Promise<ComparedDisks> {
    const different: string[] = [];
    const whileStill = async () => {
      for (const site of [from, to]) different.push(...(await this.differences(site)));
    };
    return { ...(await this.rig.comparedLeg(from, to, { ...options, whileStill })), different };
  }

  /** Keeps what the disks must contain now; the copies' paths by disk. */
  async keepTwins(): Promise<Map<string, string>> {
    const kept = new Map<string, string>();
    for (const { id } of this.disks) {
      const path = this.nextFile();
      await copyFile(this.twinPath(id), path, constants.COPYFILE_FICLONE);
      kept.set(id, path);
    }
    return kept;
  }

  /** Makes what was kept what the disks must contain. */
  async restoreTwins(kept: ReadonlyMap<string, string>): Promise<void> {
    for (const [id, path] of kept) await copyFile(path, this.twinPath(id), constants.COPYFILE_FICLONE);
  }

  /** What of a retained generation's disks differs from what was kept, read through the store alone. */
  async generationDifferences(
    site: string,
    generation: number,
    kept: ReadonlyMap<string, string>,
  ): Promise<string[]> {
    const store = await this.store(site);
    const { generations } = await store.list();
    const found = generations.find(({ manifest }) => manifest.generation === generation);
    if (!found) return [`${site} has no generation ${generation}`];
    const different: string[] = [];
    for (const { name, image } of found.manifest.disks) {
      const path = this.nextFile();
      await writeContent(store.images, image, path);
      const text = await differentBlocks(path, kept.get(name) as string);
      if (text !== "") different.push(`${name} in generation ${generation} at ${site}: ${text}`);
      await rm(path);
    }
    return different;
  }

  /** Path of the image of a disk that a site's generation names. */
  async generationImage(site: string, generation: number, id: string): Promise<string> {
    const store = await this.store(site);
    const { generations } = await store.list();
    const found = generations.find(({ manifest }) => manifest.generation === generation);
    const disk = found?.manifest.disks.find(({ name }) => name === id);
    if (!disk) throw new Error(`${site} has no disk ${id} in generation ${generation}`);
    return store.images.pathOf(await store.images.read(disk.image));
  }

  /** A site's store, for reading. */
  async store(site: string): Promise<VmStore> {
    return new VmStore(await loadCore(), this.rig.site(site).storePath, guestName);
  }

  /** QEMU's name of the node that a disk stands on. */
  async node(site: string, id: string): Promise<string> {
    return (await this.attached(site, id))["node-name"];
  }

  /** What a VM that runs has written can be read from its files then. */
  private async flush(site: string, id: string): Promise<void> {
    if (!(await this.rig.runsAt(site))) return;
    await this.plainIo(site, (await this.attached(site, id)).qdev, "flush");
  }

  /**
   * Reads through the chain of images under a disk. While QEMU merges images, or if it has done so meanwhile, a read
   * that fails or finds something wrong says nothing and is done again.
   */
  private async throughChain<T>(
    site: string,
    id: string,
    read: (chain: string) => Promise<T>,
    isRight: (value: T) => boolean,
  ): Promise<T> {
    const state = async () => {
      const monitor = await this.rig.monitor(site);
      const jobs = await monitor.execute<unknown[]>("query-jobs");
      return { isBusy: jobs.length > 0, chain: flushed(await this.attached(site, id)) };
    };
    for (;;) {
      const before = await state();
      const [result] = await Promise.allSettled([read(before.chain)]);
      if (result.status === "fulfilled" && isRight(result.value)) return result.value;
      const after = await state();
      if (!before.isBusy && !after.isBusy && before.chain === after.chain) {
        if (result.status === "rejected") throw result.reason;
        return result.value;
      }
      await sleep(100);
    }
  }

  private async attached(site: string, id: string): Promise<AttachedDisk> {
    const monitor = await this.rig.monitor(site);
    const devices =
      await monitor.execute<{ device: string; qdev?: string; inserted?: Inserted }[]>("query-block");
    for (const { device, qdev = "", inserted } of devices) {
      if (
        inserted &&
        (inserted["node-name"] === id || device === id || qdev === id || qdev.includes(`/peripheral/${id}/`))
      ) {
        if (fileOf(inserted.image) !== null) return { ...inserted, qdev };
        return { ...inserted, qdev, topFile: await this.fileUnder(site, inserted["node-name"]) };
      }
    }
    throw new Error(`QEMU at ${site} has no disk ${id}: ${JSON.stringify(devices)}`);
  }

  /** The file of a node of the program's own making: its node is named so. */
  private async fileUnder(site: string, node: string): Promise<string> {
    const monitor = await this.rig.monitor(site);
    const nodes = await monitor.execute<{ "node-name": string; file: string }[]>("query-named-block-nodes");
    const found = nodes.find((one) => one["node-name"] === `${node}-f`);
    if (!found) throw new Error(`QEMU at ${site} has no node ${node}-f`);
    return found.file;
  }

  private async plainIo(site: string, qdev: string, command: string): Promise<void> {
    const monitor = await this.rig.monitor(site);
    const answer = await monitor.execute<string>("human-monitor-command", {
      "command-line": `qemu-io -d ${qdev} "${command}"`,
    });
    if (answer !== "") throw new Error(`${command} at ${site}: ${answer}`);
  }

  private nextFile(): string {
    return join(this.folder, `read-${++this.reads}`);
  }
}

function optionsFor(
  folder: string,
  disks: readonly TestDisk[],
  changes: Partial<TestbedOptions>,
): Partial<TestbedOptions> {
  return {
    // A small content makes the legs short: disks are what these tests are about.
    fillBytes: 8 << 20,
    workingSetBytes: 1 << 20,
    // The agent must be halted between two messages of the handover, also where programs wait for one another.
    rttMs: 60,
    disks: disks.map(({ id, bus = "virtio-blk", fields }) => ({
      id,
      file: join(folder, `${id}.img`),
      bus,
      ...fields,
    })),
    ...changes,
  };
}

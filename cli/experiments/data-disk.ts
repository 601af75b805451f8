/** The disk of PostgreSQL, made once: the guest itself makes the database on it. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ExperimentGuest, guestFolder } from "./guest/experiment-guest.ts";
import { makeExt4Image, runDiskProgram } from "./guest/ext4.ts";
import { cachedFolder } from "./guest/guest-cache.ts";
import { GuestDriver } from "./guest-driver.ts";
import { launchGuest } from "./guest-process.ts";
import type { Experiment } from "./plan.ts";

/** Its size. */
export const dataDiskBytes = 1 << 30;
/** Of pgbench: 100 000 accounts each. */
const scale = 10;
/** A larger journal would be much of what such a disk holds. */
const journal = ["-J", "size=16"];
const makingMiB = 512;

/** Path of the image, made if it is not there. */
export async function prepareDataDisk(
  guest: ExperimentGuest,
  qemuBinary: string,
  tell: (text: string) => void,
  signal: AbortSignal,
): Promise<string> {
  const name = "disk.img";
  const folder = await cachedFolder(guestFolder("-postgres"), async (_work, made) => {
    tell("a guest makes the database, once");
    const disk = join(made, name);
    await makeExt4Image(disk, dataDiskBytes, "raw", { mkfs: journal });
    const socketFolder = await mkdtemp(join(tmpdir(), "bfmig-"));
    const experiment = { workload: "postgres", memoryMiB: makingMiB, age: "fresh" } as Experiment;
    try {
      const shape = { guest, qemuBinary, memoryMiB: makingMiB, socketFolder, disk };
      const launched = await launchGuest(shape, "maker", false);
      try {
        const driver = await GuestDriver.boot(launched.consolePath, experiment, tell, signal);
        await driver.makeDatabase(scale).finally(() => driver.close());
        // What it has unmounted is on the disk.
      } finally {
        await launched.qemu.quit();
      }
    } finally {
      await rm(socketFolder, { recursive: true, force: true });
    }
  });
  return join(folder, name);
}

/** A copy that a guest may write to; holes stay holes. */
export async function copyDataDisk(image: string, path: string): Promise<void> {
  await runDiskProgram("qemu-img", ["convert", "-f", "raw", "-O", "raw", image, path]);
}

/** What the QEMUs of a VM are confined to, and the VM's files that they may open. */

import { lstat } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { SiteConfig } from "../config/site-config.ts";
import { BlockHost } from "../disk/block-host.ts";
import type { DiskSpec } from "../qemu/arguments.ts";
import { type Confinement, confinementOf } from "../qemu/confinement.ts";
import { checkReach, giveFile, type NeededFile, openFolders } from "../qemu/confinement-files.ts";
import type { QemuUser } from "../qemu/confinement-user.ts";
import { namesIn } from "../store/folder.ts";
import { IntegrityLedger } from "../store/integrity.ts";
import type { ManagedVm } from "./managed-vm.ts";

/** What is needed of a site's configuration. */
export type QemuSite = Pick<SiteConfig, "qemu" | "store" | "run">;

/** Starts a block host for a VM that can open the VM's images. */
export async function startBlockHost(site: QemuSite, vm: ManagedVm): Promise<BlockHost> {
  const confinement = await confineVm(site, vm, null);
  return await BlockHost.start(site.qemu.binary, vm.runPath, confinement);
}

/**
 * How a QEMU of the VM is confined. The VM's images and `ramImage`, if it maps one, are given to its user; nothing
 * happens where QEMU runs as the agent does.
 */
export async function confineVm(
  site: QemuSite,
  vm: ManagedVm,
  ramImage: string | null,
): Promise<Confinement> {
  const confinement = await confinementOf(site.qemu);
  const { user } = confinement;
  if (user === null) return confinement;
  const { images, path, generationsPath } = vm.store;
  await openFolders([site.run, vm.runPath, site.store, path, images.path]);
  const files = (await namesIn(images.path))
    .filter((name) => name.endsWith(".qcow2"))
    .map((name) => join(images.path, name));
  if (ramImage !== null) {
    await openFolders([generationsPath, dirname(ramImage)]);
    files.push(ramImage);
  }
  await giveFiles(vm, user, files);
  return confinement;
}

/** Throws OperationError unless the VM's QEMU can open what its command line names. */
export async function checkVmReach(
  confinement: Confinement,
  disks: readonly DiskSpec[],
  ramImage: NeededFile | null,
): Promise<void> {
  const files = disks.flatMap(({ nodes }) =>
    nodes.map((node) => ({
      path: (node["file"] as { filename: string }).filename,
      writable: node["read-only"] !== true,
    })),
  );
  await checkReach(confinement, ramImage === null ? files : [...files, ramImage]);
}

async function giveFiles(vm: ManagedVm, user: QemuUser, files: readonly string[]): Promise<void> {
  const others: string[] = [];
  for (const file of files) if ((await lstat(file)).uid !== user.uid) others.push(file);
  if (others.length === 0) return;
  const ledger = new IntegrityLedger(vm.store);
  const intact = [];
  for (const one of (await vm.store.list()).generations) if (await ledger.isUntouched(one)) intact.push(one);
  for (const file of others) await giveFile(file, user);
  // A new owner changes a file's times; what it says is as it was.
  for (const one of intact) await ledger.record(one);
}

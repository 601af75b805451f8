/**
 * The Linux guest of the experiments: Debian's kernel, an initial RAM file system with busybox, and real programs with
 * their libraries on a disk that it only reads. Both sites have that disk, as sites have shared images; what a guest
 * writes is in memory, or on a disk of its own that moves with it.
 *
 *     CACHE/HASH/vmlinuz        the kernel, as Debian has it
 *     CACHE/HASH/initrd.gz      /init /bin/busybox /modules/NAME.ko /modules/list /scripts/…
 *     CACHE/HASH/programs.img   ext4: all packages, unpacked
 *     CACHE/HASH-postgres/disk.img   ext4: a database, made by the guest itself
 *
 * CACHE is the folder that BFMIG_GUEST_CACHE names, or one among the system's temporary files. HASH stands for what the
 * guest is made from. A folder is filled once and never changed.
 */

import { createHash } from "node:crypto";
import { copyFile, mkdir, readdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { escapeCommas } from "../../qemu/arguments.ts";
import type { CpioEntry } from "./cpio.ts";
import { makeExt4Image } from "./ext4.ts";
import { type CachedFolder, cachedFolder } from "./guest-cache.ts";
import { guestModules, initScript, programDiskSerial } from "./init-script.ts";
import { collectModules } from "./kernel-modules.ts";
import { type LinuxGuest, linuxMachineArguments, makeInitrd } from "./linux-machine.ts";
import { loadScripts } from "./load-scripts.ts";
import { fetchGuestPackages, type GuestPackages } from "./packages.ts";
import { mountPoints, programPackages, systemFiles } from "./programs.ts";

const cacheVariable = "BFMIG_GUEST_CACHE";
const cachePlace = "bfmig-guests";
const mebibyte = 2 ** 20;
/** What ext4 itself needs beside the files: tables, and the unused ends of blocks. */
const fileSystemShare = 0.1;
const fileSystemBytes = 64 * mebibyte;

/** A guest that can be started. */
export interface ExperimentGuest extends LinuxGuest {
  readonly programDisk: string;
}

/** Makes the guest, or finds it made. Throws OperationError with the reason when Debian's packages cannot be had. */
export async function prepareExperimentGuest(
  tell: (text: string) => void,
  signal?: AbortSignal,
): Promise<ExperimentGuest> {
  const folder = await cachedFolder(guestFolder(), async (work, made) => {
    tell("the guest is made from Debian packages, once: some 300 MB are downloaded");
    const wanted = { programs: programPackages, ...(signal !== undefined && { signal }) };
    const packages = await fetchGuestPackages(work, cacheVariable, wanted);
    await copyFile(packages.kernel, join(made, "vmlinuz"));
    await writeFile(join(made, "initrd.gz"), await initrdOf(packages));
    signal?.throwIfAborted();
    tell("its disk with the programs is made");
    await completeRoot(packages.root);
    const sizeBytes = await diskBytesFor(packages.root);
    // Nothing writes to it: no journal, no room for root.
    const mkfs = ["-O", "^has_journal", "-m", "0", "-d", packages.root];
    await makeExt4Image(join(made, "programs.img"), sizeBytes, "raw", { mkfs });
  });
  return {
    kernel: join(folder, "vmlinuz"),
    initrd: join(folder, "initrd.gz"),
    programDisk: join(folder, "programs.img"),
  };
}

/** Where something is kept that this guest has made; see `cachedFolder`. */
export function guestFolder(suffix = ""): CachedFolder {
  const recipe = JSON.stringify([initScript, guestModules, loadScripts, programPackages, systemFiles]);
  const hash = createHash("sha256").update(recipe).digest("hex").slice(0, 16);
  return { variable: cacheVariable, place: cachePlace, name: `${hash}${suffix}` };
}

/** Socket of the serial port with the heartbeats, beside that of the console. */
export function heartbeatPath(consolePath: string): string {
  return `${consolePath}.beat`;
}

/** QEMU's arguments for the guest; a disk that moves comes from the caller. */
export function experimentGuestArguments(guest: ExperimentGuest, consolePath: string): string[] {
  const id = programDiskSerial;
  return [
    ...linuxMachineArguments(guest, [consolePath, heartbeatPath(consolePath)]),
    ...["-drive", `file=${escapeCommas(guest.programDisk)},format=raw,if=none,id=${id},readonly=on`],
    ...["-device", `virtio-blk-pci,drive=${id},serial=${programDiskSerial}`],
  ];
}

async function initrdOf({ modules, busybox }: GuestPackages): Promise<Buffer> {
  const collected = await collectModules(modules, guestModules, busybox);
  const files: CpioEntry[] = [
    { path: "init", content: Buffer.from(initScript) },
    { path: "bin/busybox", content: await readFile(busybox) },
    { path: "modules/list", content: Buffer.from(collected.map(({ name }) => `${name}\n`).join("")) },
    ...collected.map(({ name, content }) => ({ path: `modules/${name}.ko`, content })),
    ...Object.entries(loadScripts).map(([name, text]) => ({
      path: `scripts/${name}`,
      content: Buffer.from(text),
    })),
  ];
  return await makeInitrd(["base", "bin", "dev", "modules", "proc", "scripts", "sys"], files);
}

/** Adds what the packages do not bring: some files, mount points, and from Debian 13 on the links to /usr. */
async function completeRoot(root: string): Promise<void> {
  for (const folder of mountPoints) await mkdir(join(root, folder), { recursive: true });
  for (const [path, text] of Object.entries(systemFiles)) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), text);
  }
  const names = await readdir(root);
  for (const name of ["bin", "sbin", "lib", "lib64"]) {
    if (!names.includes(name)) await symlink(`usr/${name}`, join(root, name));
  }
}

async function diskBytesFor(root: string): Promise<number> {
  let bytes = 0;
  for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const { size } = await stat(join(entry.parentPath, entry.name));
    bytes += Math.ceil(size / 4096) * 4096;
  }
  return Math.ceil((bytes * (1 + fileSystemShare) + fileSystemBytes) / mebibyte) * mebibyte;
}

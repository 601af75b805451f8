/**
 * A Linux guest for tests: Debian's kernel with an initial RAM file system of our own, whose only program mounts an
 * ext4 disk and obeys commands from the serial port (see linux-guest-init.ts and linux-guest-console.ts).
 *
 *     CACHE/HASH/vmlinuz      the kernel, as Debian has it
 *     CACHE/HASH/initrd.gz    /init /bin/busybox /pool /modules/NAME.ko /modules/vd.list /modules/sd.list
 *
 * CACHE is the folder that BFMIG_TEST_CACHE names, or one among the system's temporary files. HASH stands for what
 * the archive is made from. A folder is filled once and never changed.
 */

import { createHash } from "node:crypto";
import { copyFile, mkdir, mkdtemp, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import { escapeCommas } from "../../cli/qemu/arguments.ts";
import { makePrivateFolder } from "../../cli/qemu/unix-socket.ts";
import { contentPool } from "./linux-guest-content.ts";
import { type CpioEntry, cpioArchive } from "./linux-guest-cpio.ts";
import { INIT_SCRIPT, MODULES_BY_DISK } from "./linux-guest-init.ts";
import { collectModules } from "./linux-guest-modules.ts";
import { fetchGuestPackages, type GuestPackages } from "./linux-guest-packages.ts";

/**
 * Enough for the guest, and quick to migrate; a multiple of 8 KiB but not of 256 KiB, where QEMU 7.2 under TCG would
 * lose guest writes.
 */
export const LINUX_GUEST_MEMORY_BYTES = 131064 * 1024;

/**
 * A console with answers only, a panic that ends the guest, and a boot that does without what takes its time under
 * TCG: 2 seconds at rest become 1.7.
 */
const KERNEL_OPTIONS = [
  ...["console=ttyS0", "quiet", "loglevel=1", "panic=-1"],
  ...["mitigations=off", "nokaslr", "cryptomgr.notests", "audit=0"],
];

/** Paths for `-kernel` and `-initrd`. */
export interface LinuxGuest {
  readonly kernel: string;
  readonly initrd: string;
}

/** Makes the guest, or finds it made. Rejects with the reason when Debian's packages cannot be had. */
export async function prepareLinuxGuest(): Promise<LinuxGuest> {
  const cache = await cacheFolder();
  const recipe = JSON.stringify([INIT_SCRIPT, MODULES_BY_DISK]);
  const folder = join(cache, createHash("sha256").update(recipe).digest("hex").slice(0, 16));
  const guest = { kernel: join(folder, "vmlinuz"), initrd: join(folder, "initrd.gz") };
  if (await isFolder(folder)) return guest;
  const work = await mkdtemp(join(cache, "making-"));
  try {
    const made = join(work, "made");
    await mkdir(made);
    const packages = await fetchGuestPackages(work);
    await copyFile(packages.kernel, join(made, "vmlinuz"));
    await writeFile(join(made, "initrd.gz"), await makeInitrd(packages));
    // Another test may have been quicker: then its folder stays, and this one is removed.
    await rename(made, folder).catch(async (error) => {
      if (!(await isFolder(folder))) throw error;
    });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return guest;
}

/**
 * QEMU's arguments for the guest, to be put into `extra` of `qemuArguments`. `consolePath` is the unix socket of the
 * serial port; `disk` is the disk that the guest mounts, `vda` by default, `sda` for virtio-scsi. The disk's own
 * arguments come from the caller.
 */
export function linuxArguments(
  guest: LinuxGuest,
  consolePath: string,
  options: { readonly disk?: string } = {},
) {
  const commandLine = [...KERNEL_OPTIONS, `bfmig.disk=${options.disk ?? "vda"}`];
  return [
    ...["-kernel", guest.kernel, "-initrd", guest.initrd, "-append", commandLine.join(" ")],
    ...["-serial", `unix:${escapeCommas(consolePath)},server=on,wait=off`],
    // Without graphics and network there is less to start, and to migrate. A guest that panics ends its QEMU.
    ...["-vga", "none", "-nic", "none", "-no-reboot"],
  ];
}

async function makeInitrd({ modules, busybox }: GuestPackages): Promise<Buffer> {
  const files: CpioEntry[] = [
    { path: "init", content: Buffer.from(INIT_SCRIPT) },
    { path: "bin/busybox", content: await readFile(busybox) },
    { path: "pool", content: contentPool() },
  ];
  const stored = new Set<string>();
  for (const [kind, wanted] of Object.entries(MODULES_BY_DISK)) {
    const collected = await collectModules(modules, wanted, busybox);
    const list = collected.map(({ name }) => `${name}\n`).join("");
    files.push({ path: `modules/${kind}.list`, content: Buffer.from(list) });
    for (const { name, content } of collected) {
      if (stored.has(name)) continue;
      stored.add(name);
      files.push({ path: `modules/${name}.ko`, content });
    }
  }
  const folders = ["bin", "dev", "mnt", "modules", "proc", "run", "sys"];
  return await promisify(gzip)(cpioArchive([...folders.map((path) => ({ path, content: null })), ...files]));
}

async function cacheFolder(): Promise<string> {
  const chosen = process.env["BFMIG_TEST_CACHE"];
  if (chosen !== undefined && chosen !== "") {
    await mkdir(chosen, { recursive: true });
    return resolve(chosen);
  }
  // Everybody may write to the folder of temporary files: what we run from there must be ours.
  const folder = join(tmpdir(), `bfmig-test-guest-${process.getuid?.() ?? 0}`);
  await makePrivateFolder(folder);
  return folder;
}

async function isFolder(path: string): Promise<boolean> {
  return await stat(path).then(
    (status) => status.isDirectory(),
    () => false,
  );
}

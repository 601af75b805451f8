/**
 * A Linux guest for tests: Debian's kernel with an initial RAM file system of our own, whose only program mounts an
 * ext4 disk and obeys commands from the serial port (see linux-guest-init.ts; LinuxConsole sends them).
 *
 *     CACHE/HASH/vmlinuz      the kernel, as Debian has it
 *     CACHE/HASH/initrd.gz    /init /bin/busybox /pool /modules/NAME.ko /modules/vd.list /modules/sd.list
 *
 * CACHE is the folder that BFMIG_TEST_CACHE names, or one among the system's temporary files. HASH stands for what
 * the archive is made from. A folder is filled once and never changed.
 */

import { createHash } from "node:crypto";
import { copyFile, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { CpioEntry } from "../../cli/experiments/guest/cpio.ts";
import { cachedFolder } from "../../cli/experiments/guest/guest-cache.ts";
import { collectModules } from "../../cli/experiments/guest/kernel-modules.ts";
import {
  type LinuxGuest,
  linuxMachineArguments,
  makeInitrd,
} from "../../cli/experiments/guest/linux-machine.ts";
import { fetchGuestPackages, type GuestPackages } from "../../cli/experiments/guest/packages.ts";
import { contentPool } from "./linux-guest-content.ts";
import { INIT_SCRIPT, MODULES_BY_DISK } from "./linux-guest-init.ts";

/**
 * Enough for the guest, and quick to migrate; a multiple of 8 KiB but not of 256 KiB, where QEMU 7.2 under TCG would
 * lose guest writes.
 */
export const LINUX_GUEST_MEMORY_BYTES = 131064 * 1024;

const CACHE_VARIABLE = "BFMIG_TEST_CACHE";

/** Makes the guest, or finds it made. Rejects with the reason when Debian's packages cannot be had. */
export async function prepareLinuxGuest(): Promise<LinuxGuest> {
  const recipe = JSON.stringify([INIT_SCRIPT, MODULES_BY_DISK]);
  const name = createHash("sha256").update(recipe).digest("hex").slice(0, 16);
  const cached = { variable: CACHE_VARIABLE, place: "bfmig-test-guest", name };
  const folder = await cachedFolder(cached, async (work, made) => {
    const packages = await fetchGuestPackages(work, CACHE_VARIABLE);
    await copyFile(packages.kernel, join(made, "vmlinuz"));
    await writeFile(join(made, "initrd.gz"), await initrdOf(packages));
  });
  return { kernel: join(folder, "vmlinuz"), initrd: join(folder, "initrd.gz") };
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
): string[] {
  return linuxMachineArguments(guest, [consolePath], [`bfmig.disk=${options.disk ?? "vda"}`]);
}

async function initrdOf({ modules, busybox }: GuestPackages): Promise<Buffer> {
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
  return await makeInitrd(["bin", "dev", "mnt", "modules", "proc", "run", "sys"], files);
}

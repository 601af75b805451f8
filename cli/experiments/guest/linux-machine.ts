/** What every Linux guest of ours is booted with: an initial RAM file system that is all it needs, and QEMU's arguments. */

import { promisify } from "node:util";
import { gzip } from "node:zlib";
import { escapeCommas } from "../../qemu/arguments.ts";
import { type CpioEntry, cpioArchive } from "./cpio.ts";

/**
 * A console with answers only, a panic that ends the guest, and a boot that does without what takes its time under
 * TCG: 2 seconds at rest become 1.7.
 */
const kernelOptions = [
  ...["console=ttyS0", "quiet", "loglevel=1", "panic=-1"],
  ...["mitigations=off", "nokaslr", "cryptomgr.notests", "audit=0"],
];

/** Paths for `-kernel` and `-initrd`. */
export interface LinuxGuest {
  readonly kernel: string;
  readonly initrd: string;
}

/**
 * QEMU's arguments for a guest, to be put into `extra` of `qemuArguments`. `serialPaths` are the unix sockets of its
 * serial ports, the console first; `kernelWords` are added to the kernel's command line.
 */
export function linuxMachineArguments(
  guest: LinuxGuest,
  serialPaths: readonly string[],
  kernelWords: readonly string[] = [],
): string[] {
  return [
    ...["-kernel", guest.kernel, "-initrd", guest.initrd],
    ...["-append", [...kernelOptions, ...kernelWords].join(" ")],
    ...serialPaths.flatMap((path) => ["-serial", `unix:${escapeCommas(path)},server=on,wait=off`]),
    // Without graphics and network there is less to start, and to migrate. A guest that panics ends its QEMU.
    ...["-vga", "none", "-nic", "none", "-no-reboot"],
  ];
}

/** A compressed archive for `-initrd` of folders, which come first, and files. */
export async function makeInitrd(folders: readonly string[], files: readonly CpioEntry[]): Promise<Buffer> {
  const entries = folders.map((path): CpioEntry => ({ path, content: null }));
  return await promisify(gzip)(cpioArchive([...entries, ...files]));
}

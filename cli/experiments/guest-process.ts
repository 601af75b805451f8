/** QEMUs of our own with the experiments' guest, without agents. */

import { truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { guestMachine, safeMemoryBytes } from "../demo/testbed.ts";
import { type DiskSpec, qemuArguments } from "../qemu/arguments.ts";
import { probeQemu } from "../qemu/probe.ts";
import { launchQemu, type QemuProcess, qmpSocketPath } from "../qemu/process.ts";
import { type ExperimentGuest, experimentGuestArguments } from "./guest/experiment-guest.ts";

const mebibyte = 2 ** 20;
/** Name of the disk's node in each QEMU. */
export const diskNode = "disk0";

/** What a guest is started with. */
export interface GuestShape {
  readonly guest: ExperimentGuest;
  readonly qemuBinary: string;
  readonly memoryMiB: number;
  /** Of sockets; its path must be short. */
  readonly socketFolder: string;
  /** A raw image that it writes to; null: none. */
  readonly disk: string | null;
}

/** A QEMU and the sockets of its guest. */
export interface LaunchedGuest {
  readonly qemu: QemuProcess;
  readonly consolePath: string;
  readonly memoryBytes: number;
  /** Its copy of the disk; null: none. */
  readonly disk: string | null;
}

/** Starts one, or, with `incoming` the size of its empty disk, one that waits for a migration. */
export async function launchGuest(
  shape: GuestShape,
  name: string,
  incoming: false | { readonly diskBytes: number },
): Promise<LaunchedGuest> {
  const { guest, qemuBinary, memoryMiB, socketFolder } = shape;
  const runDir = join(socketFolder, "run", name);
  const consolePath = join(socketFolder, `${name}.tty`);
  const memoryBytes = await safeMemoryBytes(memoryMiB * mebibyte, qemuBinary);
  const { path } = await probeQemu(qemuBinary);
  let { disk } = shape;
  if (disk !== null && incoming !== false) {
    disk = join(socketFolder, `${name}.img`);
    await writeFile(disk, "");
    await truncate(disk, incoming.diskBytes);
  }
  const args = qemuArguments({
    name,
    machine: guestMachine,
    cpu: "qemu64",
    accel: ["tcg"],
    memoryBytes,
    memory: { kind: "ram" },
    qmpPath: qmpSocketPath(runDir),
    disks: disk === null ? [] : [diskSpec(disk)],
    incoming: incoming !== false,
    paused: false,
    extra: experimentGuestArguments(guest, consolePath),
  });
  return { qemu: await launchQemu(path, args, { runDir, name }), consolePath, memoryBytes, disk };
}

function diskSpec(filename: string): DiskSpec {
  const file = { driver: "file", filename, discard: "unmap" };
  return {
    id: diskNode,
    bus: "virtio-blk",
    nodes: [{ driver: "raw", "node-name": diskNode, discard: "unmap", file }],
  };
}

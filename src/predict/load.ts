/** What a VM has to move and how it changes meanwhile; what the hosts at both ends can do. */

import { requireWithin } from "./model-error.ts";

/** A VM, seen by the model. Bytes, bytes a second, and shares between 0 and 1. */
export interface VmLoad {
  /** M: memory. */
  readonly memoryBytes: number;
  /** z: share of pages that are zero. */
  readonly zeroShare: number;
  /** p: share of the other pages that differ from what the peer has; 1 on a first leg. */
  readonly changedPageShare: number;
  /** c_m: bytes on the wire for each byte of a page that travels. */
  readonly pageCost: number;
  /** c_r: the same for pages that are written to again while the leg runs. */
  readonly dirtyPageCost: number;
  /** D_m: distinct pages that the guest writes to, as long as it writes to new ones. */
  readonly dirtyBytesPerSecond: number;
  /** W: pages that it writes to again and again. */
  readonly workingSetBytes: number;
  /** B: disk that a first leg has to move. */
  readonly diskBytes: number;
  /** q: share of it that differs from what the peer has. */
  readonly changedBlockShare: number;
  /** c_d: bytes on the wire for each byte of a block that travels. */
  readonly blockCost: number;
  /** D_d: distinct blocks that the guest writes to. */
  readonly dirtyDiskBytesPerSecond: number;
  /** V_dev: device state on the wire. */
  readonly deviceBytes: number;
}

/** The hosts. Bytes a second of guest memory or disk, and seconds. */
export interface HostSpeeds {
  /** S_h: memory that is not zero, read from QEMU and compared. */
  readonly compareBytesPerSecond: number;
  /** S_e: pages that are encoded. */
  readonly encodeBytesPerSecond: number;
  /** S_r: disk that is read at the source. */
  readonly readBytesPerSecond: number;
  /** S_w: disk that is written at the destination. */
  readonly writeBytesPerSecond: number;
  /** F: what every leg takes whatever it moves: processes, first answers. */
  readonly fixedSeconds: number;
  /** T_flush + T_activate: last writes, load of the device state, `cont`. */
  readonly activateSeconds: number;
  /** T_round: no round but the first is shorter: QEMU looks each 100 ms whether it may stop the VM. Within the first it looks after half of that. */
  readonly roundSeconds: number;
}

/** A VM without disks, of which nothing is known but its memory: everything travels as it is, and nothing changes. */
export function quietLoad(memoryBytes: number): VmLoad {
  return {
    memoryBytes,
    zeroShare: 0,
    changedPageShare: 1,
    pageCost: 1,
    dirtyPageCost: 1,
    dirtyBytesPerSecond: 0,
    workingSetBytes: 0,
    diskBytes: 0,
    changedBlockShare: 1,
    blockCost: 1,
    dirtyDiskBytesPerSecond: 0,
    deviceBytes: 0,
  };
}

/** Throws ModelError where a load or speeds cannot be. */
export function requireLoad(load: VmLoad, speeds: HostSpeeds): void {
  requireWithin("memory in bytes", load.memoryBytes, { min: 0 });
  requireWithin("a disk in bytes", load.diskBytes, { min: 0 });
  requireWithin("a working set in bytes", load.workingSetBytes, { min: 0, max: load.memoryBytes });
  requireWithin("device state in bytes", load.deviceBytes, { min: 0 });
  for (const name of ["zeroShare", "changedPageShare", "changedBlockShare"] as const)
    requireWithin(name, load[name], { min: 0, max: 1 });
  // More than 1: content that does not compress has headers all the same.
  for (const name of ["pageCost", "dirtyPageCost", "blockCost"] as const)
    requireWithin(name, load[name], { min: 0, max: 2 });
  for (const name of ["dirtyBytesPerSecond", "dirtyDiskBytesPerSecond"] as const)
    requireWithin(name, load[name], { min: 0 });
  for (const name of [
    "compareBytesPerSecond",
    "encodeBytesPerSecond",
    "readBytesPerSecond",
    "writeBytesPerSecond",
  ] as const)
    requireWithin(name, speeds[name], { min: 1, max: Number.POSITIVE_INFINITY });
  for (const name of ["fixedSeconds", "activateSeconds", "roundSeconds"] as const)
    requireWithin(name, speeds[name], { min: 0 });
}

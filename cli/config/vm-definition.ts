/** The definition of a VM: a YAML file that the operator writes, kept in the store. */

import { dirname, isAbsolute, resolve } from "node:path";
import { stringify } from "yaml";
import { z } from "zod";
import { diskLimits, diskNameRule, isDiskName } from "../../src/generation/disks.ts";
import { defaultGranularityBytes } from "../disk/dirty-bitmaps.ts";
import { isValidName, nameRule } from "../store/vm-name.ts";
import { sizeField } from "./units.ts";
import { parseYaml } from "./yaml-file.ts";

const smallest = 1 << 20;
const largest = 2 ** 41;

/** Devices that a disk can be. */
export const diskBuses = ["virtio-blk", "virtio-scsi"] as const;
export type DiskBus = (typeof diskBuses)[number];

/** How it is found out what a VM has changed: by QEMU's log of a migration that stands open, or by reading its memory. */
export const trackingField = z.enum(["scan", "standing"]);

const disk = z.strictObject({
  id: z.string().refine(isDiskName, `ids of disks have ${diskNameRule}`),
  file: z.string().min(1).nullable().default(null),
  size: sizeField
    .refine(
      (bytes) => bytes > 0 && bytes <= diskLimits.lengthBytes && bytes % diskLimits.sectorBytes === 0,
      "a disk's size must be a multiple of 512 bytes, at most 16 TiB",
    )
    .nullable()
    .default(null),
  format: z.enum(["raw", "qcow2"]).nullable().default(null),
  bus: z.enum(diskBuses).default("virtio-blk"),
  cache: z.enum(["writeback", "none"]).default("writeback"),
  granularity: sizeField
    .refine(
      (bytes) => bytes >= 4096 && bytes <= 2 ** 26 && Number.isInteger(Math.log2(bytes)),
      "granularity must be a power of two between 4 KiB and 64 MiB",
    )
    .default(defaultGranularityBytes),
});

const schema = z.strictObject({
  name: z.string().refine(isValidName, `names have ${nameRule}`),
  memory: sizeField.refine(
    (bytes) => bytes >= smallest && bytes <= largest && bytes % 8192 === 0,
    "memory must be a multiple of 8 KiB between 1 MiB and 2 TiB",
  ),
  machine: z.string().regex(/^[a-zA-Z0-9._-]{1,64}$/, "write a machine type such as pc-q35-7.2"),
  cpu: z
    .string()
    .regex(/^[a-zA-Z0-9._+-]{1,64}$/, "write a CPU model such as qemu64")
    .default("qemu64"),
  accel: z
    .array(z.enum(["kvm", "tcg"]))
    .min(1)
    .default(["kvm", "tcg"]),
  args: z.array(z.string()).default([]),
  tracking: trackingField.default("scan"),
  /** Disks that move with the VM. One that both sites share belongs into args. */
  disks: z
    .array(disk)
    .max(diskLimits.disks)
    .superRefine((disks, context) => {
      for (const [i, { id }] of disks.entries()) {
        if (!disks.slice(0, i).some((before) => before.id === id)) continue;
        context.addIssue({ code: "custom", path: [i, "id"], message: `the id ${id} occurs twice` });
      }
    })
    .default([]),
});

/** A disk that moves with its VM. */
export interface VmDisk {
  /** Its name, also of the device in QEMU. */
  readonly id: string;
  /** The operator's file at the site where the VM was first defined; null at sites to which it came. */
  readonly file: string | null;
  /** Virtual size in bytes; null: that of the file. */
  readonly sizeBytes: number | null;
  /** Format of the file; null: as it looks. */
  readonly format: "raw" | "qcow2" | null;
  readonly bus: DiskBus;
  /** Whether the host's page cache is used. */
  readonly cache: "writeback" | "none";
  /** Granularity of the dirty bitmaps. */
  readonly granularityBytes: number;
}

/** A checked definition. */
export interface VmDefinition {
  readonly name: string;
  readonly memoryBytes: number;
  readonly machine: string;
  readonly cpu: string;
  readonly accel: readonly ("kvm" | "tcg")[];
  readonly args: readonly string[];
  readonly tracking: z.infer<typeof trackingField>;
  readonly disks: readonly VmDisk[];
}

/**
 * Reads a definition from text; `path` is for messages, and disks' files are relative to its folder.
 * Throws OperationError "usage".
 */
export function parseDefinition(text: string, path: string): VmDefinition {
  const { memory, disks, ...rest } = parseYaml(text, path, schema);
  return {
    ...rest,
    memoryBytes: memory,
    disks: disks.map(({ size, file, granularity, ...one }) => ({
      ...one,
      file: file === null || isAbsolute(file) ? file : resolve(dirname(path), file),
      sizeBytes: size,
      granularityBytes: granularity,
    })),
  };
}

/** The definition as the store keeps it. */
export function formatDefinition(definition: VmDefinition): string {
  const { memoryBytes, disks, ...rest } = definition;
  const plainDisks = disks.map(({ sizeBytes, granularityBytes, ...one }) => ({
    ...one,
    size: sizeBytes,
    granularity: granularityBytes,
  }));
  return stringify({ ...rest, memory: memoryBytes, disks: plainDisks });
}

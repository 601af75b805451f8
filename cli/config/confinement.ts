/**
 * The parts of a site's configuration that hold hostile input back: what a definition from a peer may use, and how the
 * QEMUs that take device state and disks from peers are confined.
 *
 *     accept: {machines: ["pc-q35-*"], cpus: ["Skylake-Client", "+pcid"], maxMemory: 16GiB, maxDiskSize: 200GiB}
 *     qemu: {sandbox: on, user: bfmig-qemu}
 */

import { z } from "zod";
import { diskLimits } from "../../src/generation/disks.ts";
import { sizeField } from "./units.ts";
import { diskBuses } from "./vm-definition.ts";

const accelerators = ["kvm", "tcg"] as const;

/** What a definition from a peer may use. */
export const acceptField = z
  .strictObject({
    /** Machine types, of those that this site's QEMU has. `*` stands for any characters, `?` for any one. */
    machines: z
      .array(
        z.string().regex(/^[A-Za-z0-9._*?-]{1,64}$/, "write a machine type such as pc-q35-7.2, or pc-q35-*"),
      )
      .default(["pc-i440fx-*", "pc-q35-*"]),
    /** CPU models, of those that this site's QEMU knows, and with a `+` flags that may be asked for beside them. */
    cpus: z
      .array(
        z.string().regex(/^\+?[A-Za-z0-9][A-Za-z0-9._*?-]{0,63}$|^\*$/, "write a CPU model, or + and a flag"),
      )
      .default(["*"]),
    /** Guest memory in bytes; null: as much as this machine has. */
    maxMemory: sizeField.nullable().default(null),
    maxDisks: z.int().min(0).max(diskLimits.disks).default(diskLimits.disks),
    /** Bytes of one disk. */
    maxDiskSize: sizeField.default(diskLimits.lengthBytes),
    buses: z.array(z.enum(diskBuses)).default([...diskBuses]),
    accelerators: z.array(z.enum(accelerators)).default([...accelerators]),
    /** Whether a VM may come whose memory and disks would not fit into the store if they were full. */
    overcommit: z.boolean().default(false),
  })
  .prefault({});

/** What a definition from a peer may use here. */
export type AcceptConfig = z.infer<typeof acceptField>;

/** Fields of `qemu`. */
export const confinementFields = {
  /** QEMU's own filter of system calls; `auto`: where QEMU has it. */
  sandbox: z.enum(["auto", "on", "off"]).default("auto"),
  /** The user that QEMU runs as, for an agent that runs as root. */
  user: z
    .string()
    .regex(/^[A-Za-z_][A-Za-z0-9_.-]{0,31}$/, "write the name of a user")
    .optional(),
};

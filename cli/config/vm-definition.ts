/** The definition of a VM: a YAML file that the operator writes, kept in the store. */

import { stringify } from "yaml";
import { z } from "zod";
import { isValidName, nameRule } from "../store/vm-name.ts";
import { sizeField } from "./units.ts";
import { parseYaml } from "./yaml-file.ts";

const smallest = 1 << 20;
const largest = 2 ** 41;

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
  disks: z
    .array(z.unknown())
    .max(0, "disks are not moved yet; a VM whose disks are shared by both sites names them in args")
    .default([]),
});

/** A checked definition. */
export interface VmDefinition {
  readonly name: string;
  readonly memoryBytes: number;
  readonly machine: string;
  readonly cpu: string;
  readonly accel: readonly ("kvm" | "tcg")[];
  readonly args: readonly string[];
}

/** Reads a definition from text; `path` is for messages. Throws OperationError "usage". */
export function parseDefinition(text: string, path: string): VmDefinition {
  const { memory, disks: _none, ...rest } = parseYaml(text, path, schema);
  return { ...rest, memoryBytes: memory };
}

/** The definition as the store keeps it. */
export function formatDefinition(definition: VmDefinition): string {
  const { memoryBytes, ...rest } = definition;
  return stringify({ ...rest, memory: memoryBytes });
}

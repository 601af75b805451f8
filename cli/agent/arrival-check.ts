/** What a VM's definition from a peer may use at this site: nothing but what the configuration allows and what fits. */

import { statfs } from "node:fs/promises";
import { totalmem } from "node:os";
import type { AcceptConfig } from "../config/confinement.ts";
import { matchesPattern } from "../config/permissions.ts";
import type { SiteConfig } from "../config/site-config.ts";
import { formatSize } from "../config/units.ts";
import { OperationError } from "../errors.ts";
import { probeQemu } from "../qemu/probe.ts";
import type { MessageOf } from "../wan/messages.ts";
import type { ManagedVm } from "./managed-vm.ts";

/** CPU models that are not the same at two sites. */
const hostCpus = new Set(["host", "max", "base"]);

/** What comes from a peer. */
export type ArrivingDefinition = MessageOf<"prepare">["vm"];

/** What this site has, and what the VM would take of it. */
export interface ArrivalHost {
  /** Machine types and CPU models that the QEMU here has. */
  readonly machines: readonly string[];
  readonly cpuModels: readonly string[];
  readonly memoryBytes: number;
  /** Free in the store. */
  readonly freeBytes: number;
  /** At most to be written to the store: what is not here yet. */
  readonly newBytes: number;
}

/** Throws OperationError "refused", with field, value and what is allowed, unless a peer may send this. */
export function checkArrivingDefinition(
  accept: AcceptConfig,
  definition: ArrivingDefinition,
  host: ArrivalHost,
): void {
  const { name, machine, memoryBytes, accelerator, disks } = definition;
  const refuse = (field: string, value: string | number, allowed: string): never => {
    const shown = typeof value === "number" ? value : JSON.stringify(value.slice(0, 80));
    throw new OperationError(
      "refused",
      `Cannot take ${name}: its ${field} is ${shown}; this site ${allowed}`,
    );
  };
  const isOneOf = (patterns: readonly string[], value: string) =>
    patterns.some((pattern) => matchesPattern(pattern, value));
  const size = (bytes: number) => `${formatSize(bytes)} (${bytes} bytes)`;

  if (!isOneOf(accept.machines, machine)) refuse("machine", machine, `allows ${list(accept.machines)}`);
  if (!host.machines.includes(machine)) refuse("machine", machine, "has a QEMU without that type");

  const [model = "", ...flags] = definition.cpu.split(",");
  const models = accept.cpus.filter((pattern) => !pattern.startsWith("+"));
  const allowedFlags = accept.cpus.filter((pattern) => pattern.startsWith("+"));
  if (hostCpus.has(model)) refuse("cpu", model, "takes only models that are the same everywhere");
  if (!isOneOf(models, model)) refuse("cpu", model, `allows ${list(models)}`);
  if (!host.cpuModels.includes(model)) refuse("cpu", model, "has a QEMU without that model");
  for (const flag of flags) {
    if (!flag.startsWith("+") || !isOneOf(allowedFlags, flag)) {
      refuse("cpu flag", flag, `allows ${list(allowedFlags)}`);
    }
  }

  const mostMemory = accept.maxMemory ?? host.memoryBytes;
  if (memoryBytes > mostMemory) {
    const why = accept.maxMemory === null ? "has" : "allows at most";
    refuse("memory", memoryBytes, `${why} ${size(mostMemory)}`);
  }
  if (!accept.accelerators.includes(accelerator)) {
    refuse("accelerator", accelerator, `allows ${list(accept.accelerators)}`);
  }
  if (disks.length > accept.maxDisks) {
    refuse("number of disks", disks.length, `allows at most ${accept.maxDisks}`);
  }
  for (const disk of disks) {
    const what = `disk ${disk.name}'s`;
    if (!accept.buses.includes(disk.bus)) refuse(`${what} bus`, disk.bus, `allows ${list(accept.buses)}`);
    if (disk.lengthBytes > accept.maxDiskSize) {
      refuse(`${what} size`, disk.lengthBytes, `allows at most ${size(accept.maxDiskSize)}`);
    }
  }
  if (!accept.overcommit && host.newBytes > host.freeBytes) {
    throw new OperationError(
      "refused",
      `Cannot take ${name}: its memory and disks can take ${size(host.newBytes)}, and the store has ` +
        `${size(host.freeBytes)} free; free space, or allow it with accept.overcommit if they are mostly empty`,
    );
  }
}

/** Checks what a peer sends before anything of it is kept. `known`: the VM, if it was here before. */
export async function checkArrival(
  config: SiteConfig,
  known: ManagedVm | null,
  definition: ArrivingDefinition,
): Promise<void> {
  const { machines, cpuModels } = await probeQemu(config.qemu.binary);
  const { bsize, bavail } = await statfs(config.store);
  checkArrivingDefinition(config.accept, definition, {
    machines,
    cpuModels,
    memoryBytes: totalmem(),
    freeBytes: bsize * bavail,
    newBytes: await missingBytes(known, definition),
  });
}

/** What of the VM no generation here has. Of the rest only changes come. */
async function missingBytes(known: ManagedVm | null, definition: ArrivingDefinition): Promise<number> {
  const newest = known === null ? undefined : (await known.store.list()).generations.at(-1);
  const held = new Set(newest?.manifest.disks.map(({ name }) => name));
  return definition.disks
    .filter(({ name }) => !held.has(name))
    .reduce((sum, { lengthBytes }) => sum + lengthBytes, newest ? 0 : definition.memoryBytes);
}

function list(allowed: readonly string[]): string {
  return allowed.length === 0 ? "none" : allowed.join(", ");
}

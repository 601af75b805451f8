/** QEMU's command line from a VM's definition, and the rules that it must keep to be migrated. */

import { OperationError } from "../errors.ts";
import type { QmpObject } from "./qmp-messages.ts";

/** QEMU rounds RAM up to 8 KiB; the backend and `-m` must agree to the byte. */
const MEMORY_STEP_BYTES = 8192;
const RAM_BLOCK_ID = /^[A-Za-z][A-Za-z0-9._-]{0,63}$/;
/** `pc-i440fx-7.2`, `pc-q35-10.0`, `pc-q35-rhel9.4.0`: a name that ends in a version. */
const VERSIONED_MACHINE = /^[a-z][a-z0-9-]*-[a-z]*\d+(\.\d+)+$/;
/** Options that we give ourselves, or that would take the VM out of our hands. */
const RESERVED_OPTIONS = new Set(
  [
    "-M -S -accel -cpu -daemonize -enable-kvm -incoming -loadvm -m -machine -name -no-user-config",
    "-pidfile -preconfig -runas -sandbox -snapshot",
  ].flatMap((line) => line.split(" ")),
);
/** What says the same as a reserved option. */
const confinementFieldOf: Readonly<Record<string, string>> = {
  "-runas": "qemu.user",
  "-sandbox": "qemu.sandbox",
};
/** Options after which `-display none` would be in the way. */
const DISPLAY_OPTIONS = new Set(["-display", "-nographic", "-vnc", "-spice", "-curses"]);

/** Where guest RAM comes from. */
export type GuestMemory =
  | { readonly kind: "ram" }
  /** A retained image, mapped privately; `rom` where `probeQemu` says so, to protect it from the guest. */
  | { readonly kind: "image"; readonly path: string; readonly rom: boolean };

/** A disk as the command line has it. */
export interface DiskSpec {
  /** Id of the device. */
  readonly id: string;
  readonly bus: "virtio-blk" | "virtio-scsi";
  /** Options of `-blockdev`, the lowest image first; the device stands on the last one. */
  readonly nodes: readonly QmpObject[];
}

/** What `qemuArguments` needs. */
export interface QemuSpec {
  readonly name: string;
  /** A versioned type. */
  readonly machine: string;
  /** A named model, with or without features. */
  readonly cpu: string;
  /** In order of preference; see `usableAccelerators`. */
  readonly accel: readonly string[];
  /** A multiple of 8 KiB. */
  readonly memoryBytes: number;
  readonly memory: GuestMemory;
  /** Id of the RAM block, also in the migration stream; `pc.ram` by default. */
  readonly ramBlockId?: string;
  readonly qmpPath: string;
  /** Disks that move with the VM. */
  readonly disks?: readonly DiskSpec[];
  /** Wait for an incoming migration. */
  readonly incoming: boolean;
  /** Do not run the VM before `cont`. */
  readonly paused: boolean;
  /** The definition's own arguments. */
  readonly extra: readonly string[];
}

/** Makes the command line. Throws `OperationError` when a rule is broken. */
export function qemuArguments(spec: QemuSpec): string[] {
  checkMachineType(spec.machine);
  checkCpuModel(spec.cpu);
  checkExtraArguments(spec.extra);
  const id = spec.ramBlockId ?? "pc.ram";
  if (!RAM_BLOCK_ID.test(id))
    refuse(`Cannot name the RAM block ${JSON.stringify(id)}: use letters, digits, . _ -`);
  const { memoryBytes } = spec;
  if (!Number.isSafeInteger(memoryBytes) || memoryBytes <= 0 || memoryBytes % MEMORY_STEP_BYTES !== 0) {
    refuse(`Cannot give the VM ${memoryBytes} bytes of memory: it must be a multiple of 8 KiB`);
  }
  return [
    "-no-user-config",
    ...["-name", escapeCommas(spec.name)],
    ...["-machine", `${spec.machine},memory-backend=${id}`],
    ...spec.accel.flatMap((name) => ["-accel", name]),
    ...["-cpu", spec.cpu],
    ...["-m", `${memoryBytes / 1024}K`],
    ...["-object", memoryBackend(spec.memory, id, memoryBytes)],
    ...["-qmp", `unix:${escapeCommas(spec.qmpPath)},server=on,wait=off`],
    ...diskArguments(spec.disks ?? []),
    ...(spec.incoming ? ["-incoming", "defer"] : []),
    ...(spec.paused ? ["-S"] : []),
    ...(spec.extra.some((argument) => DISPLAY_OPTIONS.has(optionName(argument))) ? [] : ["-display", "none"]),
    ...spec.extra,
  ];
}

/** Refuses machine types whose meaning changes with QEMU's version, such as `pc` and `q35`. */
export function checkMachineType(machine: string): void {
  if (VERSIONED_MACHINE.test(machine)) return;
  refuse(
    `Cannot use the machine type ${JSON.stringify(machine)}: it must name a version, such as pc-i440fx-7.2 or pc-q35-7.2`,
  );
}

/** Refuses CPU models that depend on the host. */
export function checkCpuModel(cpu: string): void {
  const [model = ""] = cpu.split(",", 1);
  if (/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(model) && model !== "host" && model !== "max" && model !== "help")
    return;
  refuse(
    `Cannot use the CPU model ${JSON.stringify(model)}: both sites need the same one, such as qemu64 or Skylake-Client`,
  );
}

/** Refuses arguments that would contradict ours. */
export function checkExtraArguments(extra: readonly string[]): void {
  const reserved = extra.find((argument) => RESERVED_OPTIONS.has(optionName(argument)));
  if (reserved === undefined) return;
  const instead = confinementFieldOf[optionName(reserved)];
  refuse(
    `Cannot pass ${reserved} to QEMU: bfmig sets it or depends on it${instead ? `; use ${instead} of the site's configuration` : ""}`,
  );
}

/**
 * The devices among QEMU's arguments that punch holes into a mapped RAM image, though it is mapped privately:
 * ballooning, free-page reporting (a part of the balloon device) and virtio-mem. Also `-readconfig` and `-set`,
 * behind which they could hide. Refuse them where the image cannot be mapped with `rom`.
 */
export function findImagePunchers(args: readonly string[]): string[] {
  const found: string[] = [];
  for (const [i, argument] of args.entries()) {
    const option = optionName(argument);
    const value = args[i + 1] ?? "";
    if (option === "-readconfig" || option === "-set" || (option === "-balloon" && value !== "none")) {
      found.push(`${argument} ${value}`.trim());
    }
    if (option !== "-device") continue;
    const driver = deviceDriver(value);
    if (/^(virtio-balloon|virtio-mem|hv-balloon)/.test(driver)) found.push(driver);
  }
  return found;
}

/** Doubles commas, as QEMU's option values need. */
export function escapeCommas(value: string): string {
  return value.replaceAll(",", ",,");
}

const scsiBus = "bfmig-scsi";

function diskArguments(disks: readonly DiskSpec[]): string[] {
  const args = disks.flatMap(({ nodes }) => nodes.flatMap((node) => ["-blockdev", JSON.stringify(node)]));
  if (disks.some(({ bus }) => bus === "virtio-scsi")) args.push("-device", `virtio-scsi-pci,id=${scsiBus}`);
  for (const { id, bus, nodes } of disks) {
    const drive = String(nodes.at(-1)?.["node-name"]);
    const driver = bus === "virtio-blk" ? "virtio-blk-pci" : `scsi-hd,bus=${scsiBus}.0`;
    args.push("-device", `${driver},drive=${drive},id=${id}`);
  }
  return args;
}

function memoryBackend(memory: GuestMemory, id: string, memoryBytes: number): string {
  if (memory.kind === "ram") return `memory-backend-ram,id=${id},size=${memoryBytes}`;
  const file = `memory-backend-file,id=${id},size=${memoryBytes},share=off,mem-path=${escapeCommas(memory.path)}`;
  return memory.rom ? `${file},readonly=on,rom=off` : file;
}

/** The driver in a `-device` value: `NAME,…`, `driver=NAME,…` anywhere, or JSON. */
function deviceDriver(value: string): string {
  if (value.startsWith("{")) return jsonDriver(value);
  const named = /(?:^|,)driver=([^,]*)/.exec(value)?.[1];
  return named ?? value.split(",", 1)[0] ?? "";
}

function jsonDriver(value: string): string {
  try {
    return String(JSON.parse(value).driver);
  } catch {
    // QEMU will not take it either.
    return "";
  }
}

/** QEMU takes options with one dash or two. */
function optionName(argument: string): string {
  return argument.startsWith("--") ? argument.slice(1) : argument;
}

function refuse(message: string): never {
  throw new OperationError("usage", message);
}

/** What the QEMU on this machine is and can do, asked once per binary. */

import { execFile } from "node:child_process";
import { accessSync, constants, statSync } from "node:fs";
import { open, stat } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { messageOf, OperationError } from "../errors.ts";
import type { QemuVersion } from "./qmp-messages.ts";

const PROBE_TIMEOUT_MS = 10_000;

/** Where to get QEMU. */
const PACKAGES =
  "Debian and Ubuntu: qemu-system-x86; Fedora: qemu-system-x86-core; Arch: qemu-system-x86; Homebrew: qemu";

/** 64 pages of 4 KiB: one word of QEMU's dirty bitmap. */
const BITMAP_WORD_BYTES = 64 * 4096;

/** What `probeQemu` found out. */
export interface QemuProbe {
  /** The binary's path, as found in PATH. */
  readonly path: string;
  readonly version: QemuVersion;
  /** The first line of `-version`. */
  readonly versionText: string;
  /** `memory-backend-file` has `rom`: a read-only file can be mapped privately, so no guest can punch holes into it. */
  readonly memoryBackendRom: boolean;
  /** `-sandbox` works here: the program has it, and the kernel takes its filter. */
  readonly sandbox: boolean;
  /** Names that `-machine` takes. */
  readonly machines: readonly string[];
  /** Names that `-cpu` takes. */
  readonly cpuModels: readonly string[];
}

/** QEMU's filter of system calls at its strictest; libvirt's default too. */
export const sandboxOption = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";

const probes = new Map<string, Promise<QemuProbe>>();

/**
 * Asks a QEMU binary (a path, or a name to be found in PATH) what it is; remembers it until the file changes.
 * Throws `OperationError` when it is missing, with the packages to install, or when it is not QEMU.
 */
export async function probeQemu(binary: string): Promise<QemuProbe> {
  const path = await findBinary(binary);
  const { mtimeMs } = await stat(path);
  const key = `${path}\0${mtimeMs}`;
  const known = probes.get(key);
  if (known !== undefined) return known;
  const probe = askBinary(path);
  probes.set(key, probe);
  probe.catch(() => probes.delete(key));
  return probe;
}

/** Decodes the first line of `-version`; null when it is not QEMU's. */
export function decodeVersionText(text: string): QemuVersion | null {
  const match = /^QEMU emulator version (\d+)\.(\d+)(?:\.(\d+))?/.exec(text);
  return match === null ? null : [Number(match[1]), Number(match[2]), Number(match[3] ?? 0)];
}

/**
 * Why this QEMU may lose guest writes during a migration, null when it does not. Versions before 8.2.2 do under
 * TCG when a RAM block is a multiple of 256 KiB: the dirty bitmap's fast path does not reset the TCG TLB.
 */
export function lostWriteRisk(vm: {
  readonly version: QemuVersion;
  readonly accel: string;
  readonly memoryBytes: number;
}): string | null {
  if (vm.accel !== "tcg" || vm.memoryBytes % BITMAP_WORD_BYTES !== 0 || !isBefore(vm.version, [8, 2, 2]))
    return null;
  return (
    `QEMU ${vm.version.join(".")} with tcg can lose guest writes during a migration of ${vm.memoryBytes / 1024} KiB of RAM; ` +
    `use ${vm.memoryBytes / 1024 - 8}KiB, QEMU 8.2.2 or later, or kvm`
  );
}

/** The accelerators of a list that this machine can use: kvm is left out where /dev/kvm cannot be opened. */
export async function usableAccelerators(accel: readonly string[]): Promise<string[]> {
  const isUsable = !accel.includes("kvm") || (await isKvmUsable());
  const usable = accel.filter((name) => name !== "kvm" || isUsable);
  if (usable.length > 0) return usable;
  throw new OperationError(
    "failed",
    "Cannot use kvm: /dev/kvm cannot be opened here; allow it, or add tcg to accel",
  );
}

async function isKvmUsable(): Promise<boolean> {
  try {
    await (await open("/dev/kvm", "r+")).close();
    return true;
  } catch {
    return false;
  }
}

async function findBinary(binary: string): Promise<string> {
  const path = await findProgram(binary);
  if (path !== null) return path;
  throw new OperationError("failed", `Cannot find ${binary}: install QEMU (${PACKAGES})`);
}

/** The path of a program: as given, or found in PATH; null if there is none. */
export async function findProgram(binary: string): Promise<string | null> {
  const folders = binary.includes("/") ? [""] : (process.env["PATH"] ?? "").split(delimiter);
  for (const folder of folders) {
    const path = join(folder, binary);
    try {
      // Without the thread pool: most folders of PATH do not have it, and this is asked at every start.
      if (!statSync(path, { throwIfNoEntry: false })?.isFile()) continue;
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Not one that may be used.
    }
  }
  return null;
}

async function askBinary(path: string): Promise<QemuProbe> {
  const versionText = (await run(path, ["-version"])).split("\n", 1)[0] ?? "";
  const version = decodeVersionText(versionText);
  if (version === null) throw new OperationError("failed", `Cannot use ${path}: its -version is not QEMU's`);
  const [backend, machines, cpus, sandbox] = await Promise.all([
    run(path, ["-object", "memory-backend-file,help"]),
    run(path, ["-machine", "help"]),
    run(path, ["-cpu", "help"]),
    // The filter is in force before the list is printed.
    run(path, ["-sandbox", sandboxOption, "-machine", "help"]).catch(() => null),
  ]);
  return {
    path,
    version,
    versionText,
    memoryBackendRom: /^\s*rom=/m.test(backend),
    sandbox: sandbox !== null,
    machines: decodeMachineHelp(machines),
    cpuModels: decodeCpuHelp(cpus),
  };
}

/** Decodes `-machine help`: a heading, then a name and its description on each line. */
export function decodeMachineHelp(text: string): string[] {
  return text
    .split("\n")
    .flatMap((line) => /^(\S+)\s+\S/.exec(line)?.slice(1) ?? [])
    .filter((name) => name !== "Supported");
}

/** Decodes `-cpu help`: a heading, then models (`x86 NAME` before QEMU 9) up to an empty line; flags follow. */
export function decodeCpuHelp(text: string): string[] {
  const [models = ""] = text.split(/\n\s*\n/, 1);
  return models.split("\n").flatMap((line) => /^(?:x86)?\s+(\S+)/.exec(line)?.slice(1) ?? []);
}

async function run(path: string, args: string[]): Promise<string> {
  try {
    return (await promisify(execFile)(path, args, { timeout: PROBE_TIMEOUT_MS })).stdout;
  } catch (error) {
    throw new OperationError("failed", `Cannot run ${path}: ${messageOf(error)}`, { cause: error });
  }
}

function isBefore(version: QemuVersion, other: QemuVersion): boolean {
  for (const [i, part] of version.entries()) {
    const otherPart = other[i] ?? 0;
    if (part !== otherPart) return part < otherPart;
  }
  return false;
}

/**
 * QEMU's own variants over one link, one after the other with the same guest: the QEMU that it has come to is the next
 * one's source.
 */

import { join } from "node:path";
import type { PrecopyVariant } from "../../cli/demo/precopy.ts";
import { runPrecopy } from "../../cli/demo/precopy.ts";
import { guestArguments, guestMachine, guestName, type Testbed } from "../../cli/demo/testbed.ts";
import { qemuArguments } from "../../cli/qemu/arguments.ts";
import { probeQemu } from "../../cli/qemu/probe.ts";
import { launchQemu, type QemuProcess, qmpSocketPath } from "../../cli/qemu/process.ts";
import { orAborted } from "./abortable.ts";
import { downtimeLimitMs } from "./matrix-cells.ts";
import { cpuSeconds } from "./measure.ts";
import type { Measured } from "./measured.ts";
import { CpuWatch, idleCpuShare, peakBesideGuest, resetPeak } from "./process-costs.ts";

/** What a series needs from who runs it. */
export interface QemuSeries {
  readonly testbed: Testbed;
  readonly variants: readonly PrecopyVariant[];
  /** Waits until the guest, whose serial port is at the path, has booted. */
  readonly booted: (consolePath: string) => Promise<void>;
  readonly onRun: (variant: PrecopyVariant) => void;
  readonly onResult: (variant: PrecopyVariant, measured: Measured) => void;
  readonly signal: AbortSignal;
}

/** Runs it. The testbed's sites are not started. Throws OperationError, or the signal's reason. */
export async function runQemuSeries(series: QemuSeries): Promise<void> {
  const { testbed, variants, signal } = series;
  const alive: QemuProcess[] = [];
  try {
    alive.push(await launch(testbed, "q0", false));
    await orAborted(series.booted(consolePath(testbed, "q0")), signal);
    for (const [i, variant] of variants.entries()) {
      signal.throwIfAborted();
      series.onRun(variant);
      const source = alive.at(-1) as QemuProcess;
      const destination = await launch(testbed, `q${i + 1}`, true);
      alive.push(destination);
      series.onResult(variant, await measure(testbed, variant, source, destination, signal));
      await source.kill();
    }
  } finally {
    await Promise.allSettled(alive.map((qemu) => qemu.kill()));
  }
}

async function measure(
  testbed: Testbed,
  variant: PrecopyVariant,
  source: QemuProcess,
  destination: QemuProcess,
  signal: AbortSignal,
): Promise<Measured> {
  const idleShare = await idleCpuShare(source.pid);
  for (const { pid } of [source, destination]) resetPeak(pid);
  const cpu = [source, destination].map(({ pid }) => new CpuWatch(pid));
  const { totalMs, stopToRunMs, downtimeMs, wireBytes, rounds } = await runPrecopy({
    source: source.qmp,
    destination: destination.qmp,
    openLink: (host, port) => testbed.openLink(host, port),
    downtimeLimitMs,
    variant,
    signal,
  });
  const spent = cpu.reduce((sum, watch) => sum + watch.end(), 0);
  const memory = [source, destination].map(({ pid }) => peakBesideGuest(pid));
  return {
    totalMs: Math.round(totalMs),
    downtimeMs: Math.round(stopToRunMs),
    reportedDowntimeMs: downtimeMs,
    wireBytes,
    agentCpuSeconds: 0,
    qemuCpuSeconds: Math.max(0, spent - (idleShare * totalMs) / 1000),
    agentMemoryBytes: 0,
    qemuMemoryBytes: sumOf(memory),
    rounds,
    tracking: null,
  };
}

/** The sum; null if a part is not known. */
export function sumOf(parts: readonly (number | null)[]): number | null {
  return parts.reduce((sum: number | null, part) => (sum === null || part === null ? null : sum + part), 0);
}

/** CPU seconds that a QEMU has needed since it began, beside what its guest needs when nobody moves it. */
export function cpuBeside(pid: number, idleSeconds: number): number {
  return Math.max(0, cpuSeconds(pid) - idleSeconds);
}

async function launch(testbed: Testbed, name: string, incoming: boolean): Promise<QemuProcess> {
  const { memoryBytes, qemuBinary, guest } = testbed.options;
  const runDir = join(testbed.socketFolder, "run", name);
  const { path } = await probeQemu(qemuBinary ?? "qemu-system-x86_64");
  const serial = consolePath(testbed, name);
  const args = qemuArguments({
    name: guestName,
    machine: guestMachine,
    cpu: "qemu64",
    accel: ["tcg"],
    memoryBytes,
    memory: { kind: "ram" },
    qmpPath: qmpSocketPath(runDir),
    incoming,
    paused: false,
    extra: guest?.(serial) ?? guestArguments(testbed.imagePath, serial),
  });
  return await launchQemu(path, args, { runDir, name });
}

function consolePath(testbed: Testbed, name: string): string {
  return join(testbed.socketFolder, `${name}.tty`);
}

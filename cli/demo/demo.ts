/** The demo: plain QEMU pre-copy, then legs there and back with bfmig, over the same emulated WAN. */

import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { MigrateDone } from "../agent/migrate.ts";
import type { ControlLine } from "../control-client.ts";
import { OperationError } from "../errors.ts";
import { qemuArguments } from "../qemu/arguments.ts";
import { probeQemu } from "../qemu/probe.ts";
import { launchQemu, type QemuProcess, qmpSocketPath } from "../qemu/process.ts";
import { type PrecopyProgress, runPrecopy } from "./precopy.ts";
import { guestArguments, guestMachine, guestName, type Testbed } from "./testbed.ts";

/** One leg as the demo reports it. */
export type DemoLeg =
  | (MigrateDone & { readonly method: "bfmig" })
  | (Omit<MigrateDone, "generation" | "epoch" | "root" | "pages" | "blocks" | "leg"> & {
      readonly method: "qemu-precopy";
      readonly leg: "first";
      readonly generation: null;
      readonly pages: null;
      readonly blocks: null;
      readonly root: null;
      /** QEMU's own figure, which leaves out what is still under way. */
      readonly qemuDowntimeMs: number;
    });

/** Where the demo tells what it does. */
export interface DemoEvents {
  readonly step: (text: string) => void;
  readonly legProgress: (line: ControlLine) => void;
  readonly precopyProgress: (progress: PrecopyProgress) => void;
  readonly leg: (leg: DemoLeg) => void;
}

/** How often the guest's console is looked at. */
const dotWaitMs = 50;

/** Runs the baseline in QEMU processes of its own. */
export async function runBaseline(
  testbed: Testbed,
  downtimeLimitMs: number,
  events: DemoEvents,
  signal: AbortSignal,
): Promise<DemoLeg> {
  const qemus: QemuProcess[] = [];
  try {
    const source = await launchGuest(testbed, "p", false);
    qemus.push(source);
    events.step("the guest boots and fills its memory");
    await waitForGuest(testbed, "p", signal);
    const destination = await launchGuest(testbed, "q", true);
    qemus.push(destination);
    events.step("plain QEMU pre-copy");
    const result = await runPrecopy({
      source: source.qmp,
      destination: destination.qmp,
      openLink: (host, port) => testbed.openLink(host, port),
      downtimeLimitMs,
      onProgress: events.precopyProgress,
      signal,
    });
    return {
      event: "done",
      method: "qemu-precopy",
      vm: guestName,
      from: "a",
      to: "b",
      leg: "first",
      generation: null,
      totalMs: Math.round(result.totalMs),
      downtimeMs: Math.round(result.stopToRunMs),
      qemuDowntimeMs: Math.round(result.downtimeMs),
      ramBytes: result.ramBytes,
      diskBytes: 0,
      diskWireBytes: 0,
      wireBytes: result.wireBytes,
      rounds: result.rounds,
      pages: null,
      blocks: null,
      predictedMs: null,
      predictedWireBytes: null,
      root: null,
    };
  } finally {
    await Promise.allSettled(qemus.map((qemu) => qemu.kill()));
  }
}

/** Starts the guest at site a and moves it there and back, `legs` times in all. */
export async function runLegs(
  testbed: Testbed,
  legs: number,
  downtimeLimitMs: number,
  events: DemoEvents,
  signal: AbortSignal,
): Promise<void> {
  events.step("two sites start; the guest boots at site a");
  await testbed.startSites();
  signal.throwIfAborted();
  await testbed.site("a").ask("start", { vm: guestName });
  await waitForGuest(testbed, "a", signal);
  let at = "a";
  for (let leg = 1; leg <= legs; leg++) {
    const to = at === "a" ? "b" : "a";
    if (leg > 1) {
      events.step(`the guest works at site ${at} until it has changed its whole working set`);
      await workingSetChanged(testbed, at, signal);
    }
    events.step(`leg ${leg}: site ${at} to site ${to}`);
    const body = { vm: guestName, to, downtimeLimitMs, timeoutMs: null, bitsPerSecond: null };
    const done = await testbed.site(at).ask("migrate", body, events.legProgress, signal);
    events.leg({ ...(done as unknown as MigrateDone), method: "bfmig" });
    at = to;
  }
  events.step(`the guest still works at site ${at}`);
  await guestDots(testbed, at, 1, signal);
}

async function launchGuest(testbed: Testbed, name: string, incoming: boolean): Promise<QemuProcess> {
  const { memoryBytes, qemuBinary } = testbed.options;
  const runDir = join(testbed.socketFolder, "run", name);
  const { path } = await probeQemu(qemuBinary ?? "qemu-system-x86_64");
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
    extra: guestArguments(testbed.imagePath, join(testbed.socketFolder, `${name}.tty`)),
  });
  return await launchQemu(path, args, { runDir, name });
}

async function waitForGuest(testbed: Testbed, site: string, signal: AbortSignal): Promise<void> {
  const guest = await testbed.openConsole(site);
  try {
    await guest.ready();
    signal.throwIfAborted();
  } finally {
    guest.close();
  }
}

/** Waits until the guest has had the time to change each page of its working set once. */
async function workingSetChanged(testbed: Testbed, site: string, signal: AbortSignal): Promise<void> {
  const { workingSetBytes, dirtyPagesPerSecond } = testbed.options;
  const seconds = dirtyPagesPerSecond === 0 ? 0 : workingSetBytes / 4096 / dirtyPagesPerSecond;
  await guestDots(testbed, site, Math.ceil(seconds) + 1, signal);
}

/** Waits until the guest has printed so many dots, one a second of its own clock. */
async function guestDots(testbed: Testbed, site: string, count: number, signal: AbortSignal): Promise<void> {
  const guest = await testbed.openConsole(site);
  try {
    let last = guest.dots;
    for (let silentMs = 0; guest.dots < count; silentMs += dotWaitMs) {
      signal.throwIfAborted();
      if (guest.dots > last) silentMs = 0;
      last = guest.dots;
      if (silentMs > 30_000)
        throw new OperationError("failed", `The guest at site ${site} does not run any more`);
      await sleep(dotWaitMs);
    }
  } finally {
    guest.close();
  }
}

/** The demo: plain QEMU pre-copy, then legs there and back with bfmig, over the same emulated WAN. */

import { truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { MigrateDone } from "../agent/migrate.ts";
import type { ControlLine } from "../control-client.ts";
import { OperationError } from "../errors.ts";
import { type DiskSpec, qemuArguments } from "../qemu/arguments.ts";
import { probeQemu } from "../qemu/probe.ts";
import { launchQemu, type QemuProcess, qmpSocketPath } from "../qemu/process.ts";
import { DiskMirror } from "./disk-mirror.ts";
import { diskName, GuestDisk } from "./guest-disk.ts";
import { type PrecopyProgress, runPrecopy } from "./precopy.ts";
import { guestArguments, guestMachine, guestName, type Testbed } from "./testbed.ts";

/** One leg as the demo reports it. */
export type DemoLeg = {
  /** Only with a disk: bytes read at the destination and found to be what the guest had written. */
  readonly diskComparedBytes?: number;
} & (
  | (MigrateDone & { readonly method: "bfmig" })
  | (Omit<
      MigrateDone,
      | "generation"
      | "epoch"
      | "root"
      | "pages"
      | "unwrittenPages"
      | "blocks"
      | "leg"
      | "tracking"
      | "resentBytes"
      | "reconnects"
      | "changedBytes"
      | "measured"
    > & {
      readonly method: "qemu-precopy";
      readonly leg: "first";
      readonly generation: null;
      readonly pages: null;
      readonly blocks: null;
      readonly root: null;
      /** QEMU's own figure, which leaves out what is still under way. */
      readonly qemuDowntimeMs: number;
    })
);

/** Where the demo tells what it does. */
export interface DemoEvents {
  readonly step: (text: string) => void;
  readonly legProgress: (line: ControlLine) => void;
  readonly precopyProgress: (progress: PrecopyProgress) => void;
  readonly leg: (leg: DemoLeg) => void;
}

/** Share of the disk's filled blocks that the guest rewrites between two legs. */
const rewrittenShare = 0.01;
/** What the guest writes to its disk while a leg runs, in pieces of 64 KiB. */
const writeBytesPerSecond = 200_000;
const blocksPerWrite = 16;

/** How often the guest's console is looked at. */
const dotWaitMs = 50;

/** Runs the baseline in QEMU processes of its own. */
export async function runBaseline(
  testbed: Testbed,
  downtimeLimitMs: number,
  events: DemoEvents,
  signal: AbortSignal,
): Promise<DemoLeg> {
  const closers: (() => Promise<unknown>)[] = [];
  try {
    const source = await launchGuest(testbed, "p", false);
    closers.push(() => source.kill());
    events.step("the guest boots and fills its memory");
    await waitForGuest(testbed, "p", signal);
    const destination = await launchGuest(testbed, "q", true);
    closers.push(() => destination.kill());
    const startMs = performance.now();
    const mirror = await mirrorDisk(testbed, source, destination, events, signal);
    if (mirror) closers.push(() => mirror.close());
    const mirrorMs = performance.now() - startMs;
    events.step("plain QEMU pre-copy");
    const result = await runPrecopy({
      source: source.qmp,
      destination: destination.qmp,
      openLink: (host, port) => testbed.openLink(host, port),
      downtimeLimitMs,
      ...(mirror && { beforeSwitchover: () => mirror.finish() }),
      onProgress: events.precopyProgress,
      signal,
    });
    const disk = (await mirror?.cost()) ?? { diskBytes: 0, wireBytes: 0 };
    const compared =
      testbed.disk && (await new GuestDisk(destination.qmp, testbed.disk, testbed.socketFolder).compare());
    return {
      event: "done",
      method: "qemu-precopy",
      vm: guestName,
      from: "a",
      to: "b",
      leg: "first",
      generation: null,
      totalMs: Math.round(mirrorMs + result.totalMs),
      downtimeMs: Math.round(result.stopToRunMs),
      qemuDowntimeMs: Math.round(result.downtimeMs),
      ramBytes: result.ramBytes,
      diskBytes: disk.diskBytes,
      diskWireBytes: disk.wireBytes,
      wireBytes: result.wireBytes + disk.wireBytes,
      rounds: result.rounds,
      pages: null,
      blocks: null,
      predictedMs: null,
      predictedWireBytes: null,
      prediction: null,
      root: null,
      ...(compared !== null && { diskComparedBytes: compared }),
    };
  } finally {
    await Promise.allSettled(closers.map((close) => close()));
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
      await rewriteDisk(testbed, at, events);
    }
    events.step(`leg ${leg}: site ${at} to site ${to}`);
    const done = await runLeg(testbed, at, to, downtimeLimitMs, events, signal);
    const compared = await compareDisk(testbed, to);
    events.leg({ ...done, method: "bfmig", ...(compared !== null && { diskComparedBytes: compared }) });
    at = to;
  }
  events.step(`the guest still works at site ${at}`);
  await guestDots(testbed, at, 1, signal);
}

/** One leg, during which the guest writes to its disk if it has one. */
async function runLeg(
  testbed: Testbed,
  from: string,
  to: string,
  downtimeLimitMs: number,
  events: DemoEvents,
  signal: AbortSignal,
): Promise<MigrateDone> {
  const body = { vm: guestName, to, downtimeLimitMs, timeoutMs: null, bitsPerSecond: null };
  const disk = testbed.disk && (await testbed.openDisk(from));
  const writing = disk?.startWriting(writeBytesPerSecond, blocksPerWrite);
  const onLine = (line: ControlLine) => {
    // What is written through a monitor is not held back by the stop, as what a guest writes is: end it well before.
    const isEarly = line["phase"] === undefined || line["phase"] === "disks";
    if (!isEarly) writing?.end().catch(() => {});
    events.legProgress(line);
  };
  try {
    const done = await testbed.site(from).ask("migrate", body, onLine, signal);
    return done as unknown as MigrateDone;
  } finally {
    await writing?.end().finally(() => disk?.close());
  }
}

/** Rewrites a share of the disk's blocks, if the guest has one. */
async function rewriteDisk(testbed: Testbed, site: string, events: DemoEvents): Promise<void> {
  if (testbed.disk === null) return;
  const indices = testbed.disk.spread(Math.ceil(testbed.disk.filledBlocks * rewrittenShare));
  events.step(`the guest rewrites ${indices.length} blocks of its disk`);
  const disk = await testbed.openDisk(site);
  try {
    await disk.rewrite(indices);
  } finally {
    disk.close();
  }
}

/** Compares the disk at the site where the guest runs with what was written. Returns the bytes read; null: no disk. */
async function compareDisk(testbed: Testbed, site: string): Promise<number | null> {
  if (testbed.disk === null) return null;
  const disk = await testbed.openDisk(site);
  try {
    return await disk.compare();
  } finally {
    disk.close();
  }
}

/** The baseline's disk: everything is copied once, while the guest writes. */
async function mirrorDisk(
  testbed: Testbed,
  source: QemuProcess,
  destination: QemuProcess,
  events: DemoEvents,
  signal: AbortSignal,
): Promise<DiskMirror | null> {
  if (testbed.disk === null) return null;
  events.step("QEMU mirrors the disk");
  const writing = new GuestDisk(source.qmp, testbed.disk, testbed.socketFolder).startWriting(
    writeBytesPerSecond,
    blocksPerWrite,
  );
  try {
    return await DiskMirror.copy({
      source: source.qmp,
      destination: destination.qmp,
      node: diskName,
      openLink: (host, port) => testbed.openLink(host, port),
      onProgress: events.precopyProgress,
      signal,
    });
  } finally {
    await writing.end();
  }
}

async function launchGuest(testbed: Testbed, name: string, incoming: boolean): Promise<QemuProcess> {
  const { memoryBytes, qemuBinary, machine = guestMachine } = testbed.options;
  const runDir = join(testbed.socketFolder, "run", name);
  const { path } = await probeQemu(qemuBinary ?? "qemu-system-x86_64");
  const args = qemuArguments({
    name: guestName,
    machine,
    cpu: "qemu64",
    accel: ["tcg"],
    memoryBytes,
    memory: { kind: "ram" },
    qmpPath: qmpSocketPath(runDir),
    disks: await baselineDisks(testbed, name, incoming),
    incoming,
    paused: false,
    extra: guestArguments(testbed.imagePath, join(testbed.socketFolder, `${name}.tty`)),
  });
  return await launchQemu(path, args, { runDir, name });
}

/** The disk for a QEMU of the baseline: the demo's own at the source, an empty one of the same size at the destination. */
async function baselineDisks(testbed: Testbed, name: string, incoming: boolean): Promise<DiskSpec[]> {
  if (testbed.disk === null) return [];
  let filename = testbed.disk.path;
  if (incoming) {
    filename = join(testbed.socketFolder, `${name}.raw`);
    await writeFile(filename, "");
    await truncate(filename, testbed.disk.sizeBytes);
  }
  const file = { driver: "file", filename, discard: "unmap" };
  return [
    {
      id: diskName,
      bus: "virtio-blk",
      nodes: [{ driver: "raw", "node-name": diskName, discard: "unmap", file }],
    },
  ];
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

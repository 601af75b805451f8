/** The guest of a series on its testbed: the boot-sector guest with so much memory filled, or a Linux that has booted. */

import { firstFilledPage } from "../../cli/demo/guest.ts";
import { GuestConsole } from "../../cli/demo/guest-console.ts";
import { safeMemoryBytes, Testbed } from "../../cli/demo/testbed.ts";
import {
  experimentGuestArguments,
  prepareExperimentGuest,
} from "../../cli/experiments/guest/experiment-guest.ts";
import { LinuxConsole } from "../../cli/experiments/guest/linux-console.ts";
import { monitorArguments } from "../../cli/experiments/run-log.ts";
import { type Cell, filledBytes, isQemuVariant, type OwnMode } from "./matrix-cells.ts";

const mebibyte = 2 ** 20;
const bootTimeoutMs = 600_000;
/** Rewritten pages lie in so many runs, spread over the filled memory. */
const rewrittenRuns = 16;

/** A testbed whose processes are not started yet, and how to deal with its guest by its serial port. */
export interface GuestBed {
  readonly testbed: Testbed;
  readonly booted: (consolePath: string) => Promise<void>;
  /** Gives so many pages new content. */
  readonly rewrite: (consolePath: string, pages: number) => Promise<void>;
  readonly close: () => Promise<void>;
}

/** Makes it for cells that share a guest and a link. Throws OperationError, also when there is no Linux to be had. */
export async function makeGuestBed(cell: Cell, qemuBinary: string): Promise<GuestBed> {
  const { method, memoryMiB, link, content } = cell;
  const filled = content === "linux" ? 0 : filledBytes(memoryMiB);
  const testbed = await Testbed.create({
    memoryBytes: await safeMemoryBytes(memoryMiB * mebibyte, qemuBinary),
    fillBytes: filled,
    workingSetBytes: 0,
    dirtyPagesPerSecond: 0,
    rateBitsPerSecond: link.megabitsPerSecond * 1e6,
    rttMs: link.rttMs,
    keepFolder: null,
    qemuBinary,
    ...(content === "linux" ? { guest: await linuxGuest() } : { content }),
    ...(!isQemuVariant(method) && { moreArguments: monitorArguments, ...trackingOf(method) }),
  });
  return {
    testbed,
    booted: content === "linux" ? linuxBooted : guestBooted,
    rewrite: (consolePath, pages) => rewrite(consolePath, filled / 4096, pages),
    close: () => testbed.close(),
  };
}

/** `pages` of `of` pages in so many runs, with as much between each and the next. */
export function spreadRuns(pages: number, of: number, runs: number): { first: number; count: number }[] {
  const before = (i: number, amount: number) => Math.floor((i * amount) / runs);
  return Array.from({ length: runs }, (_, i) => ({
    first: before(i, pages) + before(i, of - pages),
    count: before(i + 1, pages) - before(i, pages),
  }));
}

/** Sites scan unless they are told otherwise. */
function trackingOf(mode: OwnMode): object {
  return mode === "scan" ? {} : { tracking: mode };
}

async function linuxGuest(): Promise<(consolePath: string) => string[]> {
  const guest = await prepareExperimentGuest((text) => process.stderr.write(`- ${text}\n`));
  return (consolePath) => experimentGuestArguments(guest, consolePath);
}

async function guestBooted(consolePath: string): Promise<void> {
  await onConsole(consolePath, (guest) => guest.ready());
}

async function linuxBooted(consolePath: string): Promise<void> {
  const guest = await LinuxConsole.connect(consolePath);
  try {
    await guest.ready(bootTimeoutMs);
  } finally {
    guest.close();
  }
}

async function rewrite(consolePath: string, filledPages: number, pages: number): Promise<void> {
  await onConsole(consolePath, async (guest) => {
    for (const { first, count } of spreadRuns(pages, filledPages, rewrittenRuns)) {
      await guest.rewrite(firstFilledPage + first, count);
    }
  });
}

async function onConsole(path: string, action: (guest: GuestConsole) => Promise<void>): Promise<void> {
  const guest = await GuestConsole.connect(path, { timeoutMs: bootTimeoutMs });
  try {
    await action(guest);
  } finally {
    guest.close();
  }
}

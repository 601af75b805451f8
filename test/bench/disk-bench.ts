/** Benchmarks of disk legs: beside QEMU's own mirror, of large disks, of agents' work, under writes. */

import type { MigrateDone } from "../../cli/agent/migrate.ts";
import { type DemoLeg, runBaseline, runLegs } from "../../cli/demo/demo.ts";
import { DiskGuest, diskTestbed, downtimeLimitMs } from "./disk-guest.ts";
import { cpuSeconds, machine, mebibytes, median, percent } from "./measure.ts";

const mebibyte = 2 ** 20;
const gibibyte = 2 ** 30;
const rttMs = 40;
const returnLegs = 3;
const sizesBytes = [1, 4, 16, 1024].map((size) => size * gibibyte);
const runBlocks = 256;

const tell = (text: string) => process.stderr.write(`- disks: ${text}\n`);

/** First and return legs against QEMU's mirror and pre-copy, the disk being nearly all there is. */
async function besideMirror() {
  tell("beside QEMU's mirror");
  const disk = { sizeBytes: gibibyte, filledBytes: 128 * mebibyte, content: "mixed" } as const;
  const testbed = await diskTestbed({ disk, rateBitsPerSecond: 100e6, rttMs });
  const legs: DemoLeg[] = [];
  const events = {
    step: () => {},
    legProgress: () => {},
    precopyProgress: () => {},
    leg: (leg: DemoLeg) => legs.push(leg),
  };
  const { signal } = new AbortController();
  try {
    events.leg(await runBaseline(testbed, downtimeLimitMs, events, signal));
    await runLegs(testbed, 1 + returnLegs, downtimeLimitMs, events, signal);
  } finally {
    await testbed.close();
  }
  const [plain, first, ...returns] = legs;
  if (plain === undefined || first === undefined) throw new Error("legs are missing");
  const returnMs = median(returns.map(({ totalMs }) => totalMs));
  const returnBytes = median(returns.map(({ diskWireBytes }) => diskWireBytes));
  return {
    link: `100 Mbit/s, ${rttMs} ms`,
    disk,
    mirrorMs: plain.totalMs,
    mirrorWireBytes: plain.diskWireBytes,
    firstTimeRatio: first.totalMs / plain.totalMs,
    firstWireRatio: first.diskWireBytes / plain.diskWireBytes,
    returnTimeRatio: returnMs / plain.totalMs,
    returnWireRatio: returnBytes / plain.diskWireBytes,
    downtimeMs: legs.map(({ downtimeMs }) => downtimeMs),
  };
}

/** A disk of 4 GiB with 1.5 GiB: one block in a hundred rewritten; then all of it written again as it is. */
async function rewritten() {
  const disk = { sizeBytes: 4 * gibibyte, filledBytes: 1.5 * gibibyte, content: "dense" } as const;
  return await DiskGuest.with({ disk, rateBitsPerSecond: 10e9, rttMs: 1 }, async (guest) => {
    tell("first leg of 1.5 GiB");
    const first = await withCpu(guest);
    await guest.settled();
    const count = Math.ceil(guest.disk.filledBlocks / 100);
    tell(`return leg with ${count} rewritten blocks`);
    await guest.onDisk((opened) => opened.rewrite(guest.disk.spread(count)));
    const back = await withCpu(guest);
    await guest.settled();
    tell("leg of 1.5 GiB that were written as they are");
    const runs = Array.from({ length: guest.disk.filledBlocks / runBlocks }, (_, run) => run * runBlocks);
    await guest.onDisk((opened) => opened.touch(runs, runBlocks));
    const touched = await withCpu(guest);
    await guest.onDisk((opened) => opened.compare());
    const perCpuSecond = ({ cpu }: { cpu: number }) => disk.filledBytes / 1e6 / cpu;
    return {
      disk,
      firstMs: first.done.totalMs,
      firstWireBytes: first.done.diskWireBytes,
      returnMs: back.done.totalMs,
      returnWireRatio: back.done.diskWireBytes / first.done.diskWireBytes,
      touchedMs: touched.done.totalMs,
      touchedWireBytes: touched.done.diskWireBytes,
      sentMegabytesPerCpuSecond: perCpuSecond(first),
      readMegabytesPerCpuSecond: perCpuSecond(touched),
      agentPeakBytes: guest.agentPeakBytes,
    };
  });
}

/** A leg, and what its source's agent needed for it. */
async function withCpu(guest: DiskGuest): Promise<{ done: MigrateDone; cpu: number }> {
  const pid = guest.agentPid;
  const before = cpuSeconds(pid);
  const done = await guest.leg();
  return { done, cpu: cpuSeconds(pid) - before };
}

/** Return legs of sparse disks of several sizes with the same content and the same changes. */
async function sparse(sizeBytes: number) {
  tell(`a sparse disk of ${sizeBytes / gibibyte} GiB`);
  const disk = { sizeBytes, filledBytes: 64 * mebibyte, content: "mixed" } as const;
  return await DiskGuest.with({ disk, rateBitsPerSecond: 1e9, rttMs: 10 }, async (guest) => {
    const first = await guest.leg();
    const returns: MigrateDone[] = [];
    for (let leg = 0; leg < returnLegs; leg++) {
      await guest.settled();
      await guest.onDisk((opened) => opened.rewrite(guest.disk.spread(runBlocks)));
      returns.push(await guest.leg());
    }
    await guest.onDisk((opened) => opened.compare());
    return {
      sizeBytes,
      firstMs: first.totalMs,
      returnMs: median(returns.map(({ totalMs }) => totalMs)),
      returnWireBytes: median(returns.map(({ diskWireBytes }) => diskWireBytes)),
      downtimeMs: returns.map(({ downtimeMs }) => downtimeMs),
      agentPeakBytes: guest.agentPeakBytes,
    };
  });
}

/** Legs while 5 MB/s are written to the disk in pieces of 64 KiB that hardly compress. */
async function underWrites() {
  const disk = { sizeBytes: gibibyte, filledBytes: 128 * mebibyte, content: "dense" } as const;
  const writtenBytesPerSecond = 5e6;
  return await DiskGuest.with({ disk, rateBitsPerSecond: 100e6, rttMs }, async (guest) => {
    const legs: object[] = [];
    for (const name of ["first", "return"]) {
      tell(`${name} leg under writes of 5 MB/s`);
      await guest.onDisk(async (opened) => {
        const writing = opened.startWriting(writtenBytesPerSecond, 16);
        const { leg, totalMs, downtimeMs, rounds, diskBytes, diskWireBytes } = await guest.leg();
        const { bytes, lateWrites } = await writing.end();
        legs.push({
          leg,
          totalMs,
          downtimeMs,
          rounds,
          diskBytes,
          diskWireBytes,
          writtenBytes: bytes,
          lateWrites,
        });
      });
    }
    return { link: `100 Mbit/s, ${rttMs} ms`, disk, writtenBytesPerSecond, legs };
  });
}

/** Runs all of them. Takes some minutes, and 6 GiB in the folder for temporary files. */
export async function benchDisks() {
  const mirror = await besideMirror();
  const large = await rewritten();
  const sizes: Awaited<ReturnType<typeof sparse>>[] = [];
  for (const sizeBytes of sizesBytes) sizes.push(await sparse(sizeBytes));
  return { machine, mirror, large, sizes, underWrites: await underWrites() };
}

/** The figures for people. */
export function describeDisks(figures: Awaited<ReturnType<typeof benchDisks>>): string {
  const { mirror, large, sizes, underWrites } = figures;
  return [
    `machine: ${figures.machine}`,
    `QEMU's mirror, pre-copy   ${mirror.mirrorMs} ms, ${mirror.mirrorWireBytes} bytes for the disk; ${mirror.link}`,
    `first leg / mirror        time ${percent(mirror.firstTimeRatio)}, bytes ${percent(mirror.firstWireRatio)}`,
    `return leg / mirror       time ${percent(mirror.returnTimeRatio)}, bytes ${percent(mirror.returnWireRatio)}`,
    `downtimes                 ${mirror.downtimeMs.join(", ")} ms (QEMU's first)`,
    `4 GiB with 1.5 GiB        first leg ${large.firstMs} ms, return leg with 1 % rewritten ${large.returnMs} ms`,
    `return leg / first leg    ${percent(large.returnWireRatio)} of the bytes for the disk`,
    `source's agent            ${Math.round(large.readMegabytesPerCpuSecond)} MB read per CPU second, ${Math.round(large.sentMegabytesPerCpuSecond)} MB sent`,
    ...sizes.map(
      ({ sizeBytes, returnMs, returnWireBytes, agentPeakBytes }) =>
        `${`${sizeBytes / gibibyte} GiB sparse`.padEnd(25)} return leg ${returnMs} ms, ${returnWireBytes} bytes; agents' peak memory ${mebibytes(agentPeakBytes)}`,
    ),
    ...underWrites.legs.map((leg) => `under writes of 5 MB/s    ${JSON.stringify(leg)}`),
  ].join("\n");
}

/**
 * Benchmark of whole legs: plain QEMU pre-copy, first leg and return legs side by side in one run, as ratios, and
 * the agents' memory for two sizes of guest.
 */

import { type DemoEvents, type DemoLeg, runBaseline, runLegs } from "../../cli/demo/demo.ts";
import { safeMemoryBytes, Testbed } from "../../cli/demo/testbed.ts";
import { machine, mebibytes, median, peakResidentBytes, percent } from "./measure.ts";

const mebibyte = 2 ** 20;
const downtimeLimitMs = 300;
const rttMs = 40;
const returnLegs = 4;

interface Run {
  readonly memoryBytes: number;
  readonly legs: readonly DemoLeg[];
  /** Peak resident bytes of each agent. */
  readonly agentBytes: readonly number[];
}

async function run(memoryMiB: number, legs: number, withBaseline: boolean): Promise<Run> {
  const memoryBytes = await safeMemoryBytes(memoryMiB * mebibyte, "qemu-system-x86_64");
  const testbed = await Testbed.create({
    memoryBytes,
    fillBytes: (memoryMiB / 2) * mebibyte,
    workingSetBytes: 16 * mebibyte,
    dirtyPagesPerSecond: 1000,
    rateBitsPerSecond: withBaseline ? 100e6 : 1e9,
    rttMs,
    keepFolder: null,
  });
  const results: DemoLeg[] = [];
  const events: DemoEvents = {
    step: (text) => process.stderr.write(`- ${memoryMiB} MiB: ${text}\n`),
    legProgress: () => {},
    precopyProgress: () => {},
    leg: (leg) => results.push(leg),
  };
  const { signal } = new AbortController();
  try {
    if (withBaseline) events.leg(await runBaseline(testbed, downtimeLimitMs, events, signal));
    await runLegs(testbed, legs, downtimeLimitMs, events, signal);
    const agentBytes = [...testbed.sites.values()].map(({ pid }) => peakResidentBytes(pid));
    return { memoryBytes, legs: results, agentBytes };
  } finally {
    await testbed.close();
  }
}

/** Runs it. Takes about two minutes. */
export async function benchLegs() {
  const main = await run(512, 1 + returnLegs, true);
  const large = await run(1024, 2, false);
  const [plain, first, ...returns] = main.legs;
  if (plain === undefined || first === undefined) throw new Error("legs are missing");
  const growth = Math.max(...large.agentBytes) - Math.max(...main.agentBytes);
  const pages = (large.memoryBytes - main.memoryBytes) / 4096;
  return {
    machine,
    link: `100 Mbit/s, ${rttMs} ms`,
    plainMs: plain.totalMs,
    plainWireBytes: plain.wireBytes,
    firstTimeRatio: first.totalMs / plain.totalMs,
    firstWireRatio: first.wireBytes / plain.wireBytes,
    returnTimeRatio: median(returns.map((leg) => leg.totalMs)) / plain.totalMs,
    returnWireRatio: median(returns.map((leg) => leg.wireBytes)) / plain.wireBytes,
    downtimeMs: main.legs.map((leg) => leg.downtimeMs),
    downtimeBoundMs: downtimeLimitMs + 4 * rttMs + 150,
    agentPeakBytes: { [`${main.memoryBytes}`]: main.agentBytes, [`${large.memoryBytes}`]: large.agentBytes },
    agentBytesPerFurtherPage: growth / pages,
    legs: main.legs,
  };
}

/** The figures for people. */
export function describeLegs(figures: Awaited<ReturnType<typeof benchLegs>>): string {
  const peaks = Object.entries(figures.agentPeakBytes).map(
    ([memoryBytes, agents]) => `${agents.map(mebibytes).join(", ")} at ${mebibytes(Number(memoryBytes))}`,
  );
  return [
    `machine: ${figures.machine}; link: ${figures.link}`,
    `plain QEMU pre-copy   ${figures.plainMs} ms, ${figures.plainWireBytes} bytes`,
    `first leg / plain     time ${percent(figures.firstTimeRatio)}, bytes ${percent(figures.firstWireRatio)}`,
    `return leg / plain    time ${percent(figures.returnTimeRatio)}, bytes ${percent(figures.returnWireRatio)} (median of ${returnLegs})`,
    `downtimes             ${figures.downtimeMs.join(", ")} ms (plain first); bound ${figures.downtimeBoundMs} ms`,
    `agents' peak memory   ${peaks.join("; ")}`,
    `                      ${figures.agentBytesPerFurtherPage.toFixed(1)} bytes for each further page`,
  ].join("\n");
}

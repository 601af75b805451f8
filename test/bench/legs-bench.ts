/**
 * Benchmark of whole legs: plain QEMU pre-copy, first leg and return legs side by side in one run, as ratios, and
 * the agents' memory for two sizes of guest.
 *
 *     npm run bench [-- --json]
 */

import { readFileSync } from "node:fs";
import { cpus } from "node:os";
import { type DemoEvents, type DemoLeg, runBaseline, runLegs } from "../../cli/demo/demo.ts";
import { safeMemoryBytes, Testbed } from "../../cli/demo/testbed.ts";

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

/** VmHWM of a process. */
function peakResidentBytes(pid: number): number {
  const line = /^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"));
  return Number(line?.[1] ?? 0) * 1024;
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

const main = await run(512, 1 + returnLegs, true);
const large = await run(1024, 2, false);
const [plain, first, ...returns] = main.legs;
if (plain === undefined || first === undefined) throw new Error("legs are missing");
const growth = Math.max(...large.agentBytes) - Math.max(...main.agentBytes);
const pages = (large.memoryBytes - main.memoryBytes) / 4096;
const summary = {
  machine: `${cpus().length} x ${cpus()[0]?.model ?? "unknown"}, node ${process.version}`,
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
};
if (process.argv.includes("--json"))
  console.log(JSON.stringify({ event: "done", ...summary, legs: main.legs }));
else {
  const percent = (ratio: number) => `${(100 * ratio).toFixed(2)} %`;
  console.log(`machine: ${summary.machine}; link: ${summary.link}`);
  console.log(`plain QEMU pre-copy   ${plain.totalMs} ms, ${plain.wireBytes} bytes`);
  console.log(
    `first leg / plain     time ${percent(summary.firstTimeRatio)}, bytes ${percent(summary.firstWireRatio)}`,
  );
  console.log(
    `return leg / plain    time ${percent(summary.returnTimeRatio)}, bytes ${percent(summary.returnWireRatio)} (median of ${returns.length})`,
  );
  console.log(
    `downtimes             ${summary.downtimeMs.join(", ")} ms (plain first); bound ${summary.downtimeBoundMs} ms`,
  );
  console.log(
    `agents' peak memory   ${main.agentBytes.map((b) => Math.round(b / mebibyte)).join(", ")} MiB at 512 MiB, ${large.agentBytes.map((b) => Math.round(b / mebibyte)).join(", ")} MiB at 1 GiB`,
  );
  console.log(
    `                      ${summary.agentBytesPerFurtherPage.toFixed(1)} bytes for each further page`,
  );
}

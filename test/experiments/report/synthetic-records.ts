/** Made-up runs as the experiments would give them, for tests of the report. Nothing was measured. */

import { isReturn } from "../../../cli/experiments/plan.ts";
import { type ExperimentRecord, methods, workloads } from "../../../cli/experiments/record.ts";
import { SeededRandom } from "../../faults/seeded-random.ts";

/** How fast a workload changes its guest, as shares of its memory. */
const limits: Record<ExperimentRecord["workload"], number> = {
  idle: 0.004,
  redis: 0.22,
  web: 0.01,
  compile: 0.35,
  postgres: 0.12,
  dirtier: 0.5,
};

/** One run; what is not given is plain. */
export function syntheticRecord(changes: Partial<ExperimentRecord> = {}): ExperimentRecord {
  return {
    format: 1,
    workload: "idle",
    dirtyPagesPerSecond: null,
    memoryBytes: 2 ** 30,
    age: "aged",
    nonZeroShare: 0.85,
    diskBytes: 0,
    link: { bitsPerSecond: 100e6, rttMs: 40 },
    method: "precopy",
    awayMs: null,
    repeat: 1,
    at: "2026-01-02T03:04:05Z",
    totalMs: 80_000,
    downtimeMs: 120,
    gapMs: 250,
    wireBytes: 9e8,
    converged: true,
    predicted: null,
    changedShare: null,
    qemuVersion: "7.2.22",
    load: 0.4,
    ...changes,
  };
}

/** Runs of the whole matrix, or of the one guest and link that a quick subset has. */
export function syntheticRecords(options: { readonly quick?: boolean } = {}): ExperimentRecord[] {
  const source = new SeededRandom(7);
  const random = () => source.next();
  const noise = (spread: number) => 1 + spread * (random() * 2 - 1);
  const quick = options.quick ?? false;
  const links = [
    { bitsPerSecond: 50e6, rttMs: 200 },
    { bitsPerSecond: 100e6, rttMs: 40 },
    { bitsPerSecond: 1e9, rttMs: 10 },
  ];
  const records: ExperimentRecord[] = [];
  for (const link of quick ? [links[1]] : links)
    for (const workload of quick ? (["idle", "redis"] as const) : workloads)
      for (const memoryBytes of quick ? [2 ** 28] : [2 ** 29, 2 ** 30, 2 ** 31])
        for (const age of quick ? (["aged"] as const) : (["fresh", "aged"] as const))
          for (const method of methods)
            for (const awayMs of isReturn(method) ? (quick ? [20e3] : [60e3, 300e3, 1800e3]) : [null])
              for (let repeat = 1; repeat <= (quick ? 1 : 5); repeat++)
                records.push(run({ link, workload, memoryBytes, age, method, awayMs, repeat }));
  return records;

  function run(
    of: Pick<ExperimentRecord, "link" | "workload" | "memoryBytes" | "age" | "method" | "awayMs" | "repeat">,
  ) {
    const { link, workload, memoryBytes, method, awayMs } = of;
    const nonZeroShare = of.age === "aged" ? 0.86 : 0.22;
    const full = memoryBytes * nonZeroShare;
    const changed = awayMs === null ? 1 : limits[workload] * (1 - Math.exp(-awayMs / 400e3)) * noise(0.1);
    const encoded = {
      precopy: 1.05,
      xbzrle: 1.02,
      "multifd-zstd": 0.45,
      "bfmig-first": 0.42,
      "bfmig-return": 0.4,
      "bfmig-standing": 0.4,
    }[method];
    const rounds = 1 + limits[workload] * noise(0.3);
    const wireBytes = Math.round((full * changed * encoded + 3e5) * rounds * noise(0.03));
    const totalMs =
      ((wireBytes * 8) / (link.bitsPerSecond * 0.93)) * 1000 + 6 * link.rttMs + 400 * noise(0.3);
    const downtimeMs = 60 + 2 * link.rttMs + 200 * limits[workload] * random();
    const isOurs = method.startsWith("bfmig");
    const around = (value: number) => {
      const guess = Math.round(value * noise(0.2));
      return { value: guess, low: Math.round(guess * 0.7), high: Math.round(guess * 1.5) };
    };
    const at = new Date(Date.UTC(2026, 0, 2) + records.length * 90_000).toISOString();
    return syntheticRecord({
      ...of,
      awayMs: awayMs === null ? null : Math.round(awayMs * (1 + 0.02 * random())),
      dirtyPagesPerSecond: workload === "dirtier" ? 4000 : null,
      diskBytes: workload === "postgres" ? 2 ** 32 : 0,
      nonZeroShare,
      at,
      wireBytes,
      totalMs,
      downtimeMs,
      gapMs: workload === "compile" ? null : downtimeMs * 1.3,
      converged: !(workload === "dirtier" && method === "precopy" && link.bitsPerSecond < 1e9),
      predicted: isOurs
        ? { totalMs: around(totalMs), downtimeMs: around(downtimeMs), wireBytes: around(wireBytes) }
        : null,
      changedShare: awayMs === null ? null : changed,
      load: 0.3 + random(),
    });
  }
}

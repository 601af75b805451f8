import { readdir, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import t from "tap";
import { prepareExperimentGuest } from "../../cli/experiments/guest/experiment-guest.ts";
import type { Experiment } from "../../cli/experiments/plan.ts";
import { type ExperimentRecord, recordSchema } from "../../cli/experiments/record.ts";
import { runSession } from "../../cli/experiments/session.ts";
import { spawnProgram } from "../commands/program.ts";
import { temporaryFolder } from "../qemu/qemu-fixture.ts";

const memoryMiB = 256;
const shape = { memoryMiB, age: "fresh", repeat: 1, awayMs: null } as const;
const fast = { bitsPerSecond: 1000e6, rttMs: 2 };

/** Runs experiments and gives back their records. */
async function run(wanted: readonly Experiment[], giveUpMs = 600_000): Promise<ExperimentRecord[]> {
  const guest = await prepareExperimentGuest((text) => t.comment(text));
  const records: ExperimentRecord[] = [];
  await runSession(wanted, {
    guest,
    dataDisk: () => Promise.reject(new Error("no disk is wanted")),
    qemuBinary: "qemu-system-x86_64",
    downtimeLimitMs: 300,
    giveUpMs: () => giveUpMs,
    tell: (text) => t.comment(text),
    onRecord: async (record) => {
      t.comment(JSON.stringify(record));
      records.push(record);
    },
    signal: new AbortController().signal,
  });
  return records;
}

t.test("a Linux guest with redis is moved by QEMU, by a first leg of ours, and comes back", async (t) => {
  const redis = { ...shape, workload: "redis", dirtyPagesPerSecond: null, link: fast } as const;
  const qemu = await run([{ ...redis, method: "precopy" }]);
  const own = await run([
    { ...redis, method: "bfmig-first" },
    { ...redis, method: "bfmig-return", awayMs: 2000 },
  ]);
  const records = [...qemu, ...own];
  t.strictSame(
    records.map(({ method, awayMs }) => [method, awayMs]),
    [
      ["precopy", null],
      ["bfmig-first", null],
      ["bfmig-return", 2000],
    ],
  );
  for (const record of records) {
    t.ok(recordSchema.safeParse(record).success, `${record.method} gives a record as it should be`);
    t.ok(record.converged);
    t.ok(record.totalMs > record.downtimeMs && record.downtimeMs > 0);
    t.ok(Number(record.gapMs) > 0, "the guest's heart was heard at both places");
    t.ok(
      record.nonZeroShare > 0.2 && record.nonZeroShare < 0.8,
      `${record.nonZeroShare} of its memory is used`,
    );
  }
  const [precopy, first, back] = records as [ExperimentRecord, ExperimentRecord, ExperimentRecord];
  t.ok(precopy.wireBytes > precopy.nonZeroShare * precopy.memoryBytes, "QEMU sends what is not zero");
  t.ok(first.wireBytes < precopy.wireBytes);
  t.ok(back.wireBytes < first.wireBytes / 4, `the way back is cheap: ${back.wireBytes}`);
  t.equal(precopy.predicted, null);
  for (const { predicted } of own)
    t.ok(predicted !== null && predicted.totalMs.value > 0, "ours are predicted");
  t.ok(Number(back.changedShare) > 0 && Number(back.changedShare) < 0.5);
});

t.test("it also comes back from a standing migration", async (t) => {
  const shapeOfRun = { ...shape, workload: "idle", dirtyPagesPerSecond: null, link: fast } as const;
  const records = await run([{ ...shapeOfRun, method: "bfmig-standing", awayMs: 1000 }]);
  t.match(
    records,
    [{ method: "bfmig-standing", awayMs: 1000, converged: true }],
    "the first leg is not told",
  );
  const [back] = records as [ExperimentRecord];
  t.ok(Number(back.changedShare) > 0 && Number(back.changedShare) < 0.2, `${back.changedShare}`);
});

t.test("a guest that changes more than the link carries is given up, and runs on", async (t) => {
  const dirtier = { ...shape, workload: "dirtier", dirtyPagesPerSecond: 2000 } as const;
  const link = { bitsPerSecond: 30e6, rttMs: 2 };
  // On a busy machine the fast link takes this guest in ten seconds.
  const enoughMs = 20_000;
  const qemu = await run(
    [
      { ...dirtier, link, method: "precopy" },
      { ...dirtier, link: fast, method: "precopy" },
    ],
    enoughMs,
  );
  t.match(qemu, [
    { converged: false, downtimeMs: 0 },
    { converged: true, link: fast },
  ]);
  t.ok(Number(qemu[0]?.totalMs) >= enoughMs);
  t.ok(Number(qemu[0]?.wireBytes) > 1e6);
  const own = await run(
    [
      { ...dirtier, link: { bitsPerSecond: 2e6, rttMs: 2 }, method: "bfmig-first" },
      { ...dirtier, link: { bitsPerSecond: 2e6, rttMs: 2 }, method: "bfmig-return", awayMs: 1000 },
    ],
    6000,
  );
  t.match(
    own,
    [{ method: "bfmig-first", converged: false }],
    "and nothing comes back from where it did not go",
  );
});

t.test("interrupted, it ends all that it has started and keeps what was measured", async (t) => {
  const { kernel } = await prepareExperimentGuest((text) => t.comment(text));
  const folder = await temporaryFolder(t);
  const temporary = await temporaryFolder(t);
  const args = ["--quick", "--workload", "idle", "--method", "bfmig-first", "--link", "100/10", "--json"];
  const env = { BFMIG_GUEST_CACHE: dirname(dirname(kernel)), TMPDIR: temporary };
  const { child, end } = spawnProgram(["bench", "experiments", "--out", folder, ...args], env);
  t.teardown(() => child.kill("SIGKILL"));
  await new Promise<void>((resolve) => {
    child.stdout?.on("data", (text: string) => {
      if (text.includes("the guest boots")) resolve();
    });
    child.once("exit", () => resolve());
  });
  child.kill("SIGINT");
  const { code, err } = await end;
  t.equal(code, 3);
  t.match(err, /Interrupted; everything that was started is gone/);
  t.strictSame(await readdir(temporary), [], "no folder is left");
  t.strictSame(await processesOf(temporary), [], "and no process");
  t.equal(await readFile(join(folder, "results.jsonl"), "utf8"), "");
});

/** Command lines that name a folder. */
async function processesOf(folder: string): Promise<string[]> {
  const found: string[] = [];
  for (const pid of await readdir("/proc")) {
    const line = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
    if (/^\d+$/.test(pid) && line.includes(folder)) found.push(line.replaceAll("\0", " "));
  }
  return found;
}

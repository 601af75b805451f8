import { appendFile, readFile, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import t from "tap";
import { LegHistory, type LegRecord, legHistoryFile, maxHistoryLegs } from "../../cli/store/leg-history.ts";

const leg = (n: number): LegRecord => ({
  format: 1,
  at: new Date(1e12 + n * 1000).toISOString(),
  to: "b",
  kind: n === 0 ? "first" : "return",
  predicted: null,
  modelled: { totalMs: 700, downtimeMs: 95, wireBytes: 120_000 },
  measured: {
    totalMs: 750 + n,
    downtimeMs: 90,
    wireBytes: 125_000,
    rounds: 2,
    negotiatedMs: 80,
    firstPassMs: 400,
    roundsMs: 150,
  },
  tracking: "scan",
  filledBytes: 300 << 20,
  memoryBytes: 2 ** 29,
  changedBytes: 16 << 20,
  pageWireBytes: 100_000,
  disks: 0,
  changedDiskBytes: 0,
  diskWireBytes: 0,
  deviceWireBytes: 20_000,
  ageSeconds: n === 0 ? null : 3600,
  bytesPerSecond: 12.5e6,
  rttMs: 40,
  givenBytesPerSecond: null,
  limitBytesPerSecond: null,
  initialBytes: 14_480,
  predictionMs: 180,
  encodeBytesPerSecond: 90e6,
  learnedLegs: 3,
});

t.test("legs are kept in their order, the newest ones when there are many", async (t) => {
  const folder = t.testdir();
  const history = new LegHistory(folder);
  t.same(await history.read(), [], "none yet");
  await history.add(leg(0));
  await history.add(leg(1));
  t.same(await new LegHistory(folder).read(), [leg(0), leg(1)]);
  const many = Array.from({ length: maxHistoryLegs }, (_, n) => `${JSON.stringify(leg(n))}\n`);
  await writeFile(join(folder, legHistoryFile), many.join(""));
  await history.add(leg(maxHistoryLegs));
  const kept = await history.read();
  t.equal(kept.length, maxHistoryLegs);
  t.same([kept[0], kept.at(-1)], [leg(1), leg(maxHistoryLegs)]);
});

t.test("what is no record is left out, and gone with the next leg", async (t) => {
  const folder = t.testdir();
  const path = join(folder, legHistoryFile);
  const history = new LegHistory(folder);
  await history.add(leg(0));
  await appendFile(path, `nonsense\n${JSON.stringify({ ...leg(1), memoryBytes: -1 })}\n{"format":2}\n{"form`);
  t.same(await history.read(), [leg(0)]);
  await history.add(leg(1));
  t.equal((await readFile(path, "utf8")).split("\n").length, 3, "two lines and the end");
});

t.test("a file that is far too large is not read", async (t) => {
  const folder = t.testdir();
  const path = join(folder, legHistoryFile);
  await writeFile(path, `${JSON.stringify(leg(0))}\n`);
  await truncate(path, 2 ** 40);
  t.same(await new LegHistory(folder).read(), []);
});

t.test("a record that cannot be is a fault of the caller", async (t) => {
  const history = new LegHistory(t.testdir());
  await t.rejects(history.add({ ...leg(0), memoryBytes: Number.NaN }));
  t.same(await history.read(), []);
});

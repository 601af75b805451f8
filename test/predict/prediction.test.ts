import t from "tap";
import { learn } from "../../cli/predict/learned.ts";
import type { LinkFigures } from "../../cli/predict/link-figures.ts";
import type { MemoryFacts } from "../../cli/predict/memory-facts.ts";
import { type PredictionInputs, predict } from "../../cli/predict/prediction.ts";
import { rememberedFacts } from "../../cli/predict/remembered-facts.ts";
import { plainLink } from "../../src/predict/index.ts";
import { legOf } from "./leg-records.ts";

const memory: MemoryFacts = {
  filledBytes: 80e6,
  changedBytes: 8e6,
  changedDeviation: 0,
  pageCost: 0.5,
  dirtyPageCost: 0.1,
  writing: { bytesPerSecond: 0, setBytes: 0 },
  encodeBytesPerSecond: 100e6,
  sampledPages: 2000,
};
const link: LinkFigures = {
  link: { ...plainLink, efficiency: 1, bytesPerSecond: 12.5e6, rttSeconds: 0.04, initialBytes: 1e6 },
  rateSpread: 0.05,
  rttSpread: 0.02,
  givenBytesPerSecond: null,
  rateFrom: "given",
  rttFrom: "given",
  isRttOfNow: true,
};
const inputs = (part: Partial<PredictionInputs> = {}): PredictionInputs => ({
  kind: "return",
  tracking: "scan",
  memoryBytes: 100e6,
  memory,
  memorySpread: 0.02,
  disks: null,
  link,
  learned: learn([legOf()], { kind: "return", vm: "web1", hasDisks: false }),
  downtimeLimitMs: 300,
  spentSeconds: 0.1,
  legs: [],
  ...part,
});
const width = ({ low, high }: { low: number; high: number }) => high / low;

t.test("the value is the model's", async (t) => {
  const found = predict(inputs());
  // 8 MB · 0.5 / 12.5 MB/s = 0.32 s; 0.32 s fixed, and 0.06 s waited beside the round trip; 0.06 s of trips; 0.06 + 0.1 s of downtime.
  t.ok(Math.abs((found.totalMs?.value ?? 0) - 920) <= 1, String(found.totalMs?.value));
  t.ok(Math.abs(found.downtimeMs.value - 160) <= 1);
  // 4 MB · 1.002 + 55 000
  t.equal(found.wireBytes?.value, 4_063_000);
  t.ok(Math.abs(found.changedShare - 0.1) < 1e-12);
  t.ok(found.breakEvenShare > 0.9, "all pages would take as long as a full leg");
});

t.test("what is not known well makes intervals wider, and a good history narrower", async (t) => {
  const plain = predict(inputs());
  const guessed = predict(inputs({ memorySpread: 1.5 }));
  const farther = predict(inputs({ link: { ...link, rateSpread: 2 } }));
  const exact = Array.from({ length: 20 }, () =>
    legOf({ modelled: { totalMs: 1000, downtimeMs: 160, wireBytes: 5_065_000 } }),
  );
  const practised = predict(inputs({ legs: exact }));
  const of = (found: typeof plain) => found.totalMs as { low: number; high: number };
  t.ok(width(of(guessed)) > width(of(plain)));
  t.ok(width(of(farther)) > width(of(plain)));
  t.ok(width(of(practised)) < width(of(plain)) / 2);
  t.equal(practised.totalMs?.value, plain.totalMs?.value);
  const early = exact.map((leg) => ({
    ...leg,
    learnedLegs: 0,
    modelled: { totalMs: 9e5, downtimeMs: 9e5, wireBytes: 1 },
  }));
  t.same(
    predict(inputs({ legs: early })).totalMs,
    plain.totalMs,
    "what was predicted without a history says nothing",
  );
});

t.test("a guest that cannot converge has no time, and nothing is infinite", async (t) => {
  const writing = { bytesPerSecond: 200e6, setBytes: 80e6 };
  const found = predict(inputs({ memory: { ...memory, writing, dirtyPageCost: 1 } }));
  t.match(found, { converges: false, totalMs: null, wireBytes: null, modelled: null });
  t.ok(found.downtimeMs.value > 300 && Number.isFinite(found.downtimeMs.high));
  t.notMatch(JSON.stringify({ ...found, model: null }), /NaN|Infinity/);
});

t.test("a standing migration compares nothing", async (t) => {
  const big = { ...memory, filledBytes: 10e9, changedBytes: 0 };
  const scan = predict(inputs({ memoryBytes: 16e9, memory: big }));
  const standing = predict(inputs({ memoryBytes: 16e9, memory: big, tracking: "standing" }));
  t.ok((scan.totalMs?.value ?? 0) > 10_000 && (standing.totalMs?.value ?? 0) < 1000);
});

t.test("an empty guest and a disk", async (t) => {
  const empty = predict(inputs({ memory: { ...memory, filledBytes: 0, changedBytes: 0 } }));
  t.ok(empty.totalMs && empty.totalMs.low > 0);
  const disks = {
    markedBytes: 50e6,
    changedBytes: 25e6,
    changedDeviation: 5e6,
    blockCost: 1,
    sampledBlocks: 500,
  };
  const found = predict(inputs({ disks }));
  t.ok((found.wireBytes?.value ?? 0) > 29e6);
  t.ok(width(found.wireBytes as never) > width(predict(inputs()).wireBytes as never));
});

t.test("without a look at the memory its last leg stands for it, or a guess", async (t) => {
  const remembered = rememberedFacts([legOf({ kind: "first" }), legOf()], "return", 100e6);
  t.match(remembered, { from: "history", facts: { changedBytes: 8e6, pageCost: 0.625, filledBytes: 80e6 } });
  t.match(rememberedFacts([], "first", 100e6), { from: "guess", facts: { changedBytes: 100e6 } });
  t.ok(rememberedFacts([], "return", 100e6).spread > remembered.spread);
});

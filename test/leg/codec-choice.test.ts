/** The choice of codec, on links and CPUs that are made up: time is what the clock of the test says. */

import t from "tap";
import { CodecChoice } from "../../cli/leg/codec-choice.ts";
import { type Core, loadCore } from "../../src/core.ts";
import { SeededRandom } from "../faults/seeded-random.ts";

const plain = new Uint8Array(256 * 1024);
const mebibyte = 1 << 20;
const lz4 = { speed: 600 * mebibyte, share: 0.5 };
/** zstd by level: bytes a second, and compressed share. */
const fastMachine: Readonly<Record<number, { speed: number; share: number }>> = {
  1: { speed: 300 * mebibyte, share: 0.4 },
  3: { speed: 200 * mebibyte, share: 0.35 },
  6: { speed: 80 * mebibyte, share: 0.32 },
  9: { speed: 40 * mebibyte, share: 0.3 },
  12: { speed: 10 * mebibyte, share: 0.25 },
};
const real = await loadCore();

/** A leg on a link; payloads take as long as the machine's speeds say. */
class Leg {
  rate: number | null;
  isBusy = true;
  now = 0;
  longestMs = 0;
  /** How much larger than usual what comes out is: memory has text here and pictures there. */
  content = 1;
  /** How much longer than it works. */
  waitMs = 0;
  readonly choice: CodecChoice;
  private readonly slowness: number;

  constructor(rate: number | null, slowness = 1, hasZstd = true, threads = 0) {
    this.rate = rate;
    this.slowness = slowness;
    const pack = (speed: number, share: number) => {
      const ms = (plain.length / speed) * 1000 * this.slowness;
      this.now += ms + this.waitMs;
      return new Uint8Array(plain.length * Math.min(1, share * this.content));
    };
    const core: Core = {
      ...real,
      lz4Compress: () => pack(lz4.speed, lz4.share),
      zstd: hasZstd
        ? {
            compress: (_plain, level) => pack(fastMachine[level].speed, fastMachine[level].share),
            decompress: () => plain,
          }
        : null,
    };
    const link = { bytesPerSecond: () => this.rate, isBusy: () => this.isBusy, threads: () => threads };
    this.choice = new CodecChoice(core, link, () => this.now);
  }

  /** Sends frames; returns the codec in the end. */
  send(frames: number, bytes = plain): number {
    for (let i = 0; i < frames; i++) {
      const start = this.now;
      this.choice.choose()?.(bytes);
      if (i > 0) this.longestMs = Math.max(this.longestMs, this.now - start);
    }
    return this.choice.current;
  }
}

t.test("the slower the link, the higher the level; a fast one gets LZ4", async (t) => {
  const megabits = (rate: number) => new Leg((rate * 1e6) / 8).send(400);
  t.equal(megabits(10_000), 0);
  t.equal(megabits(2_000), 0);
  t.equal(megabits(10), 9);
  t.equal(megabits(100), 6);
  t.equal(megabits(200), 3);
  t.equal(megabits(400), 1);
  const levels = [10_000, 2_000, 800, 400, 200, 100, 10].map(megabits);
  t.strictSame(
    levels,
    [...levels].sort((a, b) => a - b),
    "without exception",
  );
});

t.test("a slower machine gets a lower level on the same link", async (t) => {
  const rate = 30e6;
  const levels = [1, 2, 4, 8, 16].map((slowness) => new Leg(rate, slowness).send(400));
  t.strictSame(
    levels,
    [...levels].sort((a, b) => b - a),
  );
  t.ok(levels[0] > levels[4]);
});

t.test("no level is kept whose payloads take longer than 10 ms", async (t) => {
  const leg = new Leg(1e5);
  t.equal(leg.send(400), 9, "level 12 would be the smallest");
  const slow = new Leg(1e5, 4);
  t.equal(slow.send(400), 3);
});

t.test("before the link is known it is zstd at a middle level", async (t) => {
  t.equal(new Leg(null).send(100), 3);
});

t.test(
  "high levels are for links that are busy: else the rate is that of what there was to send",
  async (t) => {
    const leg = new Leg(1e6);
    leg.isBusy = false;
    t.equal(leg.send(400), 3);
    leg.isBusy = true;
    t.equal(leg.send(400), 9);
    leg.isBusy = false;
    t.equal(leg.send(1), 3);
  },
);

t.test("it follows a link that changes, in both directions", async (t) => {
  const leg = new Leg(1e6);
  t.equal(leg.send(400), 9);
  leg.rate = 1e9;
  t.equal(leg.send(400), 0);
  leg.rate = 1e6;
  t.ok(leg.send(400) >= 6, "trials of zstd go on while LZ4 is used");
});

t.test("content that changes all the time is not taken for a codec's doing", async (t) => {
  const leg = new Leg(100e6 / 8);
  const random = new SeededRandom(1);
  let lz4 = 0;
  for (let i = 0; i < 400; i++) {
    leg.content = 0.1 + 2 * random.next();
    for (let frame = 0; frame < 8; frame++) if (leg.send(1) === 0) lz4++;
  }
  t.ok(lz4 < 160, `${lz4} of 3200 frames were for LZ4, which a link like this never limits`);
});

t.test(
  "a host that is slower than the link takes the codec that is fastest, whatever the link was seen to carry",
  async (t) => {
    const linkRate = 125e6;
    const leg = new Leg(10e6, 2);
    leg.isBusy = false;
    for (let frame = 0; frame < 400; frame++) {
      const before = leg.now;
      leg.send(1);
      const level = leg.choice.current;
      const { speed, share } = level === 0 ? lz4 : fastMachine[level];
      // What LZ4 does page by page is not on the test's clock.
      const ms = Math.max(leg.now - before, (plain.length / speed) * 2000) + plain.length / 250e3;
      const produced = (plain.length * share * 1000) / ms;
      leg.rate = Math.min(linkRate, produced);
      leg.isBusy = produced >= linkRate;
    }
    t.equal(leg.choice.current, 0);
  },
);

t.test("what was only tried is counted", async (t) => {
  const leg = new Leg(10e6);
  leg.choice.choose()?.(plain);
  t.ok(Math.abs(leg.choice.triedMs - (plain.length / lz4.speed) * 1000) < 1e-9, "LZ4, beside level 3");
});

t.test("a thread that now and then waits for its core does not give up zstd for that", async (t) => {
  const leg = new Leg(100e6 / 8);
  const random = new SeededRandom(1);
  let lz4 = 0;
  for (let frame = 0; frame < 3000; frame++) {
    leg.waitMs = random.integer(1, 5) === 1 ? 20 : 0;
    if (leg.send(1) === 0) lz4++;
  }
  t.ok(lz4 < 30, `${lz4} of 3000 frames were for LZ4`);
});

t.test("where zstd is far from paying it is seldom tried", async (t) => {
  const countTrials = (rate: number, slowness: number) => {
    const leg = new Leg(rate, slowness);
    leg.send(100);
    let trials = 0;
    for (let i = 0; i < 640; i++) if (leg.choice.choose() !== null) trials++;
    return trials;
  };
  t.equal(countTrials(22.5e6, 8), 40, "29 MB/s are 64 % of what LZ4 brings over this link");
  t.equal(countTrials(10e9, 8), 10, "and 57 % of what it could");
});

t.test("a plan for a batch is the same choice; what the batch measured is learnt from", async (t) => {
  const leg = new Leg(1e9);
  const first = leg.choice.plan();
  t.strictSame(first, { level: 3, firstLevel: 3, tried: [0] });
  leg.choice.learn([
    { level: 0, speed: 600_000, share: 0.5 },
    { level: 3, speed: 200_000, share: 0.35 },
  ]);
  t.equal(leg.choice.plan().level, 0, "LZ4 promises more");
  for (let i = 0; i < 15; i++) leg.choice.plan();
  const plans = Array.from({ length: 64 }, () => leg.choice.plan());
  const trials = plans.filter(({ firstLevel }) => firstLevel === 1);
  t.equal(trials.length, 4);
  t.ok(
    trials.every(({ level }) => level === 0),
    "the rest of the batch is as chosen",
  );
  t.ok(
    trials.every(({ tried }) => tried.includes(0)),
    "what LZ4 makes of it is seen on the same payload",
  );
  t.strictSame(new Leg(1e9, 1, false).choice.plan(), { level: 0, firstLevel: 0, tried: [] });
});

t.test("more threads allow for a higher level on the same link", async (t) => {
  const levels = [0, 1, 2, 4].map((threads) => new Leg(60e6, 2, true, threads).send(400));
  t.strictSame(
    levels,
    [...levels].sort((a, b) => a - b),
  );
  t.ok(levels[3] > levels[0]);
});

t.test("a small difference changes nothing", async (t) => {
  const leg = new Leg(120e6);
  const before = leg.send(200);
  const changes: number[] = [];
  for (let i = 0; i < 200; i++) {
    leg.rate = 120e6 * (i % 2 === 0 ? 1.03 : 0.97);
    changes.push(leg.send(1));
  }
  t.strictSame([...new Set(changes)], [before]);
});

t.test("without zstd, and on short payloads alone, nothing is tried", async (t) => {
  const without = new Leg(1e6, 1, false);
  t.equal(without.send(50), 0);
  t.equal(without.now, 0);
  const short = new Leg(1e9);
  const calls = short.choice.choose();
  t.ok(calls);
  t.equal(short.send(100, new Uint8Array(1000)), 3, "they say too little for a change");
});

import t from "tap";
import {
  type LinkModel,
  lossLimit,
  plainLink,
  transferSeconds,
  usableBytesPerSecond,
} from "../../src/predict/link.ts";
import { ModelError } from "../../src/predict/model-error.ts";

const link: LinkModel = { ...plainLink, bytesPerSecond: 12.5e6, rttSeconds: 0.04 };
const close = (a: number, b: number) => Math.abs(a - b) <= Math.abs(b) * 1e-6;

t.test("a short link carries its rate less the headers", async (t) => {
  t.equal(usableBytesPerSecond({ ...link, rttSeconds: 0 }), 11.75e6);
  t.equal(usableBytesPerSecond(link), 11.75e6, "4 MiB in 40 ms would be 105 MB/s");
});

t.test("a window bounds a long fat link, and streams widen it", async (t) => {
  const fat = { ...link, bytesPerSecond: 125e6, rttSeconds: 0.2 };
  // 4194304 B / 0.2 s = 20 971 520 B/s, of which 0.94.
  t.ok(close(usableBytesPerSecond(fat), 19_713_228.8));
  t.ok(close(usableBytesPerSecond({ ...fat, streams: 4 }), 78_852_915.2));
  t.equal(usableBytesPerSecond({ ...fat, streams: 16 }), 0.94 * 125e6, "no more than the link has");
});

t.test("loss bounds a connection: CUBIC on a long way, Reno on a short one", async (t) => {
  // 1.054 · 1448 / (0.2^¼ · 0.0001^¾) = 1526.192 / (0.668740 · 0.001) = 2 282 191.8
  t.ok(Math.abs(lossLimit(0.2, 1e-4) - 2_282_191.8) < 20);
  // 1.22 · 1448 / (0.001 · 0.01) = 176 656 000; CUBIC would have 8.58 MB/s.
  t.ok(close(lossLimit(0.001, 1e-4), 176_656_000));
  t.equal(lossLimit(0.2, 0), Number.POSITIVE_INFINITY);
  t.equal(lossLimit(0, 0.01), Number.POSITIVE_INFINITY);
  const lossy = { ...link, bytesPerSecond: 25e6, rttSeconds: 0.2, lossShare: 1e-4 };
  const one = usableBytesPerSecond(lossy);
  t.ok(close(usableBytesPerSecond({ ...lossy, streams: 4 }), 4 * one));
});

t.test("the rate goes to zero as the way gets longer", async (t) => {
  const rates = [1, 10, 1e3, 1e6].map((rttSeconds) => usableBytesPerSecond({ ...link, rttSeconds }));
  t.same(
    [...rates].sort((a, b) => b - a),
    rates,
  );
  t.ok(Number(rates.at(-1)) < 10);
});

t.test("an idle connection carries twice as much in each round trip until the link is full", async (t) => {
  const slow = { ...link, bytesPerSecond: 1e6, efficiency: 1, rttSeconds: 0.1, initialBytes: 10_000 };
  // 10 + 20 + 40 + 80 KB in four round trips; a fifth would carry 160 KB, more than the link's 100.
  t.ok(close(transferSeconds(1_150_000, slow), 0.4 + 1));
  t.ok(
    close(transferSeconds(20_000, slow), 0.1 + 0.01),
    "what fits in what is left of a flight takes its own time",
  );
  t.ok(close(transferSeconds(8_000, slow), 0.008));
  t.equal(transferSeconds(0, slow), 0);
  t.ok(close(transferSeconds(1e6, { ...slow, rttSeconds: 0 }), 1), "no way to go, nothing to wait for");
  t.ok(close(transferSeconds(1e6, { ...slow, initialBytes: 1e6 }), 1), "the link is full at once");
  t.ok(close(transferSeconds(140_000, { ...slow, streams: 2 }), 0.2 + 0.08), "20 + 40 KB, then 80 KB");
  t.throws(() => transferSeconds(1, { ...slow, initialBytes: 0 }), /first round trip 0/);
});

t.test("links that cannot be are refused by name", async (t) => {
  const bad: [Partial<LinkModel>, RegExp][] = [
    [{ bytesPerSecond: 0 }, /link rate.* 0: it must be at least 1/],
    [{ bytesPerSecond: Number.NaN }, /link rate.* NaN/],
    [{ bytesPerSecond: Number.POSITIVE_INFINITY }, /finite/],
    [{ rttSeconds: -1 }, /round-trip time in seconds -1/],
    [{ lossShare: 1 }, /lost packets 1: it must be from 0 to 0.99/],
    [{ streams: 0 }, /streams 0/],
    [{ windowBytes: 0 }, /window in bytes 0/],
    [{ efficiency: 1.5 }, /payload share/],
  ];
  for (const [part, message] of bad)
    t.throws(() => usableBytesPerSecond({ ...link, ...part }), { constructor: ModelError, message });
});

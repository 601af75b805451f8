import t from "tap";
import { threadsAfterBytes } from "../../cli/leg/encode-route.ts";
import { encodingSeconds, learnEncoding, usualEncoding } from "../../cli/predict/encoding.ts";
import { legOf } from "./leg-records.ts";

const factors = { usual: 50e6, alone: 2, together: 0.5 };
const close = (a: number, b: number) => Math.abs(a - b) <= Math.abs(b) * 1e-9;

t.test("a return leg is encoded by one thread, a first leg by several after its beginning", async (t) => {
  const load = { changedBytes: threadsAfterBytes + 50e6, frameBytes: 0, sampleBytesPerSecond: 50e6 };
  // 67 MB at 25 MB/s; 17 MB at 25 MB/s and 50 MB at 100 MB/s.
  t.ok(close(encodingSeconds({ kind: "return", ...load }, factors), load.changedBytes / 25e6));
  t.ok(close(encodingSeconds({ kind: "first", ...load }, factors), threadsAfterBytes / 25e6 + 0.5));
  t.ok(close(encodingSeconds({ kind: "first", ...load, changedBytes: 10e6 }, factors), 0.4));
  t.equal(encodingSeconds({ kind: "first", ...load, changedBytes: 0 }, factors), 0);
  t.ok(
    close(encodingSeconds({ kind: "first", ...load, changedBytes: 0, frameBytes: 30e6 }, factors), 0.3),
    "100 MB/s",
  );
});

t.test("a sample's speed counts half, beside what samples usually say", async (t) => {
  const load = { kind: "return", changedBytes: 60e6, frameBytes: 0 } as const;
  const seconds = (sampleBytesPerSecond: number | null) =>
    encodingSeconds({ ...load, sampleBytesPerSecond }, factors);
  t.ok(close(seconds(50e6), 2.4));
  t.ok(close(seconds(200e6), 1.2), "four times as fast: 100 MB/s");
  t.ok(close(seconds(12.5e6), 4.8), "a quarter: 25 MB/s");
  t.ok(close(seconds(null), 2.4), "none");
  const leg = (encodeBytesPerSecond: number) => [legOf({ encodeBytesPerSecond }), null] as const;
  t.equal(learnEncoding([]).usual, usualEncoding);
  t.equal(learnEncoding([leg(20e6), leg(30e6), leg(31e6), leg(500e6)]).usual, 31e6, "in the middle");
});

t.test("what legs took is learned for one thread and for several", async (t) => {
  const small = legOf({ changedBytes: 40e6, pageWireBytes: 0, encodeBytesPerSecond: 100e6 });
  const large = legOf({
    kind: "first",
    pageWireBytes: 0,
    changedBytes: threadsAfterBytes + 100e6,
    encodeBytesPerSecond: 100e6,
  });
  // 0.4 s by the sample took 1.2 s: 3. The prior of 1.2 counts like one leg.
  const { alone } = learnEncoding([
    [small, 1.2],
    [small, 1.2],
    [small, 1.2],
  ]);
  t.ok(close(alone, 3));
  const framed = { ...small, pageWireBytes: 20e6 };
  const less = learnEncoding([
    [framed, 1.4],
    [framed, 1.4],
    [framed, 1.4],
  ]);
  t.ok(close(less.alone, 3), "its frames took 0.2 s");
  // Its beginning takes 3 · 0.168 s; what is left of 1.503 s goes to 100 MB, which the sample would take 1 s for.
  const begun = (threadsAfterBytes / 100e6) * 3;
  const found = learnEncoding([
    [small, 1.2],
    [small, 1.2],
    [small, 1.2],
    [large, begun + 0.4],
    [large, begun + 0.4],
    [large, begun + 0.4],
  ]);
  t.ok(close(found.alone, 3));
  t.ok(close(found.together, 0.4));
});

t.test("legs that something else has limited, and without a sample, say nothing", async (t) => {
  const nothing = learnEncoding([]);
  const found = learnEncoding([
    [legOf({ changedBytes: 40e6 }), null],
    [legOf({ changedBytes: 40e6, encodeBytesPerSecond: null }), 9],
    [legOf({ changedBytes: 0 }), 9],
  ]);
  t.match(found, { alone: nothing.alone, together: nothing.together });
  t.ok(nothing.alone > 0 && nothing.together > 0 && nothing.together <= nothing.alone);
});

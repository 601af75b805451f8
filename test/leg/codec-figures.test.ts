/** What codecs are taken to make of payloads, beside LZ4 on the same ones. */

import t from "tap";
import { CodecFigures } from "../../cli/leg/codec-figures.ts";

const close = (a: number | undefined, b: number) => a !== undefined && Math.abs(a - b) <= Math.abs(b) * 1e-9;

t.test("nothing is known before it was measured, and no level before it was beside LZ4", async (t) => {
  const figures = new CodecFigures();
  t.equal(figures.areKnown, false);
  t.equal(figures.of(0), null);
  figures.learn([{ level: 3, speed: 100, share: 0.3 }]);
  t.equal(figures.areKnown, false, "alone it says nothing");
  figures.learn([{ level: 0, speed: 400, share: 0.5 }]);
  t.strictSame(figures.of(0), { speed: 400, share: 0.5 });
  t.equal(figures.of(3), null);
});

t.test("a codec alone tells what the others would make of payloads as they are now", async (t) => {
  const figures = new CodecFigures();
  figures.learn([
    { level: 0, speed: 400, share: 0.4 },
    { level: 1, speed: 100, share: 0.2 },
    { level: 3, speed: 50, share: 0.1 },
  ]);
  // Half as long and twice as large, again and again.
  for (let i = 0; i < 200; i++) figures.learn([{ level: 1, speed: 200, share: 0.4 }]);
  for (const [level, speed, share] of [
    [0, 800, 0.8],
    [1, 200, 0.4],
    [3, 100, 0.2],
  ] as const) {
    t.ok(close(figures.of(level)?.speed, speed), `speed of level ${level}`);
    t.ok(close(figures.of(level)?.share, share), `share of level ${level}`);
  }
});

t.test("nothing becomes larger than it is", async (t) => {
  const figures = new CodecFigures();
  figures.learn([
    { level: 0, speed: 400, share: 0.8 },
    { level: 1, speed: 100, share: 0.4 },
  ]);
  for (let i = 0; i < 200; i++) figures.learn([{ level: 1, speed: 100, share: 0.9 }]);
  t.equal(figures.of(0)?.share, 1);
  t.ok(close(figures.of(1)?.share, 0.9));
});

t.test("a payload that had to wait changes no speed", async (t) => {
  const figures = new CodecFigures();
  const beside = [
    { level: 0, speed: 400, share: 0.8 },
    { level: 1, speed: 100, share: 0.4 },
  ] as const;
  for (let i = 0; i < 5; i++) figures.learn(beside);
  figures.learn([{ level: 1, speed: 1, share: 0.4 }]);
  figures.learn([beside[0], { ...beside[1], speed: 1 }]);
  figures.learn([{ ...beside[0], speed: 1 }, beside[1]]);
  t.ok(close(figures.of(1)?.speed, 100));
  t.ok(close(figures.of(0)?.speed, 400));
});

t.test("payloads weigh by what they take, and old ones less and less", async (t) => {
  const figures = new CodecFigures();
  figures.learn([
    { level: 0, speed: 1, share: 0.8 },
    { level: 1, speed: 1, share: 0.8 },
  ]);
  figures.learn([
    { level: 0, speed: 1, share: 0.4 },
    { level: 1, speed: 1, share: 0.2 },
  ]);
  const ratio = (0.75 * 0.8 + 0.2) / (0.75 * 0.8 + 0.4);
  t.ok(close(figures.of(1)?.share, (0.8 - 0.25 * 0.4) * ratio));
});

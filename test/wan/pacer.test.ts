import { performance } from "node:perf_hooks";
import { mock } from "node:test";
import fc from "fast-check";
import t, { type Test } from "tap";
import { type Paced, Pacer } from "../../cli/wan/pacer.ts";

/** A clock that only the test moves, for `performance.now` and timers alike. */
function testClock(t: Pick<Test, "teardown">): { now: number; advance: (ms: number) => void } {
  const clock = {
    now: 1000,
    advance: (ms: number) => {
      for (let i = 0; i < ms; i++) {
        clock.now++;
        mock.timers.tick(1);
      }
    },
  };
  mock.timers.enable({ apis: ["setTimeout"] });
  const read = mock.method(performance, "now", () => clock.now);
  t.teardown(() => {
    read.mock.restore();
    mock.timers.reset();
  });
  return clock;
}

t.test("frames and messages go in the order in which they came", async (t) => {
  const clock = testClock(t);
  const sent: Paced[] = [];
  const pacer = new Pacer(1000, (data) => sent.push(data));
  const given: Paced[] = [];
  for (let i = 0; i < 20; i++) given.push(i % 3 === 0 ? `message ${i}` : new Uint8Array(10).fill(i));
  for (const data of given) pacer.push(data);
  t.ok(sent.length < given.length, "not all at once");
  clock.advance(1000);
  t.strictSame(sent, given);
});

t.test("over any stretch no more is let go than the rate allows, and a burst", async (t) => {
  const clock = testClock(t);
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 3000 }), { minLength: 1, maxLength: 60 }),
      fc.integer({ min: 10_000, max: 1_000_000 }),
      (sizes, bytesPerSecond) => {
        const log: { at: number; bytes: number }[] = [];
        const pacer = new Pacer(bytesPerSecond, (data) => log.push({ at: clock.now, bytes: data.length }));
        for (const bytes of sizes) pacer.push(new Uint8Array(bytes));
        const total = sizes.reduce((sum, bytes) => sum + bytes, 0);
        clock.advance(Math.ceil((total / bytesPerSecond) * 1000) + sizes.length + 10);
        if (log.length !== sizes.length) return false;
        return log.every((first, i) => {
          let bytes = 0;
          return log.slice(i).every((one) => {
            bytes += one.bytes;
            // The last frame may go when its turn begins; 5 ms may go ahead of their time.
            return bytes - one.bytes <= ((one.at - first.at + 5 + 1) / 1000) * bytesPerSecond;
          });
        });
      },
    ),
    { numRuns: 60 },
  );
});

t.test("what comes while nothing waits goes at once, and idle time is not saved up", async (t) => {
  const clock = testClock(t);
  let sent = 0;
  const pacer = new Pacer(1000, (data) => {
    sent += data.length;
  });
  pacer.push(new Uint8Array(1));
  t.equal(sent, 1);
  clock.advance(10_000);
  for (let i = 0; i < 1000; i++) pacer.push(new Uint8Array(1));
  t.ok(sent <= 1 + 6, `${sent} bytes after ten idle seconds: a burst, not ten seconds' worth`);
  clock.advance(100);
  t.ok(sent <= 1 + 6 + 100);
  t.ok(sent >= 50, "and it goes on");
});

t.test("a frame larger than a burst goes in one piece, and the next one waits for its time", async (t) => {
  const clock = testClock(t);
  const sent: number[] = [];
  const pacer = new Pacer(1000, (data) => sent.push(data.length));
  pacer.push(new Uint8Array(500));
  pacer.push(new Uint8Array(1));
  t.strictSame(sent, [500]);
  clock.advance(400);
  t.strictSame(sent, [500]);
  clock.advance(100);
  t.strictSame(sent, [500, 1]);
});

t.test("flush sends all that waits, in order; stop sends nothing of it", async (t) => {
  const clock = testClock(t);
  const sent: Paced[] = [];
  const flushed = new Pacer(10, (data) => sent.push(data));
  for (const text of ["first", "second", "third"]) flushed.push(text);
  flushed.flush();
  t.strictSame(sent, ["first", "second", "third"]);
  clock.advance(2000);
  t.equal(sent.length, 3, "nothing twice");

  const stopped = new Pacer(10, (data) => sent.push(data));
  for (const text of ["fourth", "fifth"]) stopped.push(text);
  stopped.stop();
  clock.advance(2000);
  t.strictSame(sent.slice(3), ["fourth"]);
});

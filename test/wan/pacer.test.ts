import { performance } from "node:perf_hooks";
import { mock } from "node:test";
import fc from "fast-check";
import t, { type Test } from "tap";
import { type Paced, Pacer, type Piece, type SendPiece, wireBytesOf } from "../../cli/wan/pacer.ts";

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

/** Puts frames and messages together again. */
function collector() {
  const whole: Paced[] = [];
  const parts: Uint8Array[] = [];
  return {
    whole,
    take: ({ data, isText, isLast }: Piece) => {
      parts.push(data);
      if (!isLast) return;
      const bytes = Buffer.concat(parts.splice(0));
      whole.push(isText ? bytes.toString("utf8") : new Uint8Array(bytes));
    },
  };
}

/** A pacer with one connection. */
function through(bytesPerSecond: number, send: SendPiece) {
  const pacer = new Pacer(bytesPerSecond);
  return {
    push: (paced: Paced) => pacer.push(paced, send),
    flush: () => pacer.flush(send),
    forget: () => pacer.forget(send),
  };
}

t.test("frames and messages go in the order in which they came", async (t) => {
  const clock = testClock(t);
  const { whole: sent, take } = collector();
  const pacer = through(1000, take);
  const given: Paced[] = [];
  for (let i = 0; i < 20; i++) given.push(i % 3 === 0 ? `message ${i}` : new Uint8Array(10).fill(i));
  given.push(
    new Uint8Array(5000).fill(7),
    "x".repeat(3000),
    "é and \u{1f600} ".repeat(500),
    new Uint8Array(0),
  );
  for (const data of given) pacer.push(data);
  t.ok(sent.length < given.length, "not all at once");
  clock.advance(60_000);
  t.strictSame(sent, given);
});

t.test("over any stretch no more is let go than the rate allows, and a burst", async (t) => {
  const clock = testClock(t);
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 30_000 }), { minLength: 1, maxLength: 40 }),
      fc.integer({ min: 10_000, max: 5_000_000 }),
      (sizes, bytesPerSecond) => {
        const log: { at: number; bytes: number }[] = [];
        const pacer = through(bytesPerSecond, ({ data }) => {
          log.push({ at: clock.now, bytes: wireBytesOf(data.length) });
        });
        for (const bytes of sizes) pacer.push(new Uint8Array(bytes));
        const total = sizes.reduce((sum, bytes) => sum + bytes * 1.1 + 100, 0);
        clock.advance(Math.ceil((total / bytesPerSecond) * 1000) + 100);
        if (log.reduce((sum, { bytes }) => sum + bytes, 0) < sizes.reduce((sum, bytes) => sum + bytes, 0))
          return false;
        return log.every((first, i) => {
          let bytes = 0;
          return log.slice(i).every((one) => {
            bytes += one.bytes;
            // The last piece may go when its turn begins; 5 ms may go ahead of their time.
            return bytes - one.bytes <= ((one.at - first.at + 5 + 1) / 1000) * bytesPerSecond;
          });
        });
      },
    ),
    { numRuns: 60 },
  );
});

t.test("in any second what goes is the rate within 5 %, also when timers are late", async (t) => {
  for (const megabits of [1, 10, 40, 200]) {
    const clock = testClock(t);
    const bytesPerSecond = megabits * 125_000;
    const log: { at: number; bytes: number }[] = [];
    const pacer = through(bytesPerSecond, ({ data }) => {
      log.push({ at: clock.now, bytes: wireBytesOf(data.length) });
    });
    for (let bytes = 0; bytes < 4 * bytesPerSecond; bytes += 128 * 1024)
      pacer.push(new Uint8Array(128 * 1024));
    const start = clock.now;
    // The clock goes by 1 ms, and now and then by 20 ms at once.
    for (let step = 0; clock.now < start + 3500; step++) {
      const ms = step % 7 === 3 ? 20 : 1;
      clock.now += ms;
      mock.timers.tick(ms);
    }
    for (let from = start + 100; from + 1000 <= start + 3400; from += 37) {
      let bytes = 0;
      for (const one of log) if (one.at >= from && one.at < from + 1000) bytes += one.bytes;
      const share = bytes / bytesPerSecond;
      if (share < 0.95 || share > 1.05) t.fail(`${megabits} Mbit/s: ${share} of the rate in a second`);
    }
    t.ok(log.length > 100, `${log.length} pieces of ${log[0].bytes} bytes`);
    pacer.forget();
    mock.timers.reset();
    mock.restoreAll();
  }
});

t.test("what comes while nothing waits goes at once, and idle time is not saved up", async (t) => {
  const clock = testClock(t);
  let sent = 0;
  const pacer = through(100_000, ({ data }) => {
    sent += wireBytesOf(data.length);
  });
  const each = wireBytesOf(1);
  pacer.push(new Uint8Array(1));
  t.equal(sent, each);
  clock.advance(10_000);
  for (let i = 0; i < 2000; i++) pacer.push(new Uint8Array(1));
  t.ok(sent <= 500 + 3 * each, `${sent} bytes after ten idle seconds: a burst, not ten seconds' worth`);
  clock.advance(100);
  t.ok(sent <= 500 + 10_000 + 3 * each);
  t.ok(sent >= 9000, "and it goes on");
});

t.test("a large frame goes in pieces, each when its turn comes", async (t) => {
  const clock = testClock(t);
  const sent: Piece[] = [];
  const pacer = through(10_000, (piece) => sent.push(piece));
  pacer.push(new Uint8Array(3000));
  pacer.push(new Uint8Array(1));
  t.equal(sent.length, 1, "a packet's worth at once");
  clock.advance(300);
  t.strictSame(
    sent.map(({ data, isLast }) => [data.length, isLast]),
    [
      [1400, false],
      [1400, false],
      [200, true],
    ],
  );
  clock.advance(20);
  t.strictSame(sent[3]?.data.length, 1);
});

t.test("flush sends all that waits, in order; what is forgotten is not sent", async (t) => {
  const clock = testClock(t);
  const { whole: sent, take } = collector();
  const flushed = through(10, take);
  for (const text of ["first", "second", "third"]) flushed.push(text);
  flushed.flush();
  t.strictSame(sent, ["first", "second", "third"]);
  clock.advance(20_000);
  t.equal(sent.length, 3, "nothing twice");

  const stopped = through(10, take);
  for (const text of ["fourth", "fifth"]) stopped.push(text);
  stopped.forget();
  clock.advance(20_000);
  t.strictSame(sent.slice(3), ["fourth"]);
});

t.test("connections that share a pacer share its rate, and each keeps its own order", async (t) => {
  const clock = testClock(t);
  const pacer = new Pacer(10_000);
  const sent: [string, number][] = [];
  const sends = ["a", "b"].map(
    (name): SendPiece =>
      ({ data }) =>
        sent.push([name, data[0]]),
  );
  for (let i = 0; i < 8; i++) pacer.push(new Uint8Array(972).fill(i), sends[i % 2]);
  clock.advance(300);
  const early = sent.length;
  t.ok(early >= 3 && early <= 4, `${early} of 1000 bytes each in 300 ms`);
  pacer.forget(sends[0]);
  clock.advance(2000);
  t.strictSame(
    sent.slice(early).map(([name]) => name),
    Array(sent.length - early).fill("b"),
  );
  t.strictSame(
    sent.filter(([name]) => name === "b").map(([, i]) => i),
    [1, 3, 5, 7],
  );
  pacer.push(new Uint8Array(1), sends[0]);
  clock.advance(100);
  t.equal(sent.at(-1)?.[0], "a", "and it goes on");
});

import fc from "fast-check";
import t from "tap";
import {
  dataBudgetMs,
  decidePause,
  decideSwitchover,
  handoverMs,
  type SwitchoverInputs,
} from "../../cli/leg/switchover.ts";

const calm: SwitchoverInputs = {
  backlogBytes: 0,
  bytesPerSecond: 10e6,
  isLinkLimited: true,
  rttMs: 40,
  unsentBytes: 1 << 20,
  unsentDrainedBytes: 1 << 20,
  encodedShare: 0.1,
  disks: null,
  pass: 3,
  budgetMs: 300,
  isLinkUp: true,
};

/** Both figures of what QEMU has to send. */
const unsent = (bytes: number) => ({ unsentBytes: bytes, unsentDrainedBytes: bytes });

t.test("it stops when what is left fits the limit, and says what to expect", async (t) => {
  const { stopNow, drainFirst, expectedDowntimeMs } = decideSwitchover(calm);
  t.ok(stopNow);
  t.notOk(drainFirst, "there is nothing to wait for");
  t.ok(expectedDowntimeMs > handoverMs(40) + 10 && expectedDowntimeMs < handoverMs(40) + 20);
});

t.test("the limit is for the whole downtime where the distance allows it", async (t) => {
  t.equal(dataBudgetMs(300, 40), 300 - handoverMs(40));
  t.equal(dataBudgetMs(300, Number.POSITIVE_INFINITY), 300 - handoverMs(Number.POSITIVE_INFINITY));
  t.equal(dataBudgetMs(300, 1000), 75, "a part of it is left for the data, however far the peer is");
  const strict = { ...calm, budgetMs: dataBudgetMs(300, 40), encodedShare: 1 };
  t.ok(decideSwitchover({ ...strict, ...unsent(1_750_000) }).stopNow, "178 ms at 10 MB/s");
  t.notOk(
    decideSwitchover({ ...strict, ...unsent(1_900_000) }).stopNow,
    "193 ms are below the limit, but too much",
  );
});

t.test("where only the queue is in the way it is drained first", async (t) => {
  const queued = { ...calm, backlogBytes: 4 << 20 };
  t.match(decideSwitchover(queued), { stopNow: false, drainFirst: true });
  const dirtied = { ...queued, unsentDrainedBytes: 100 << 20 };
  t.match(
    decideSwitchover(dirtied),
    { stopNow: false, drainFirst: false },
    "not if too much is changed meanwhile",
  );
  t.match(decideSwitchover({ ...queued, isLinkUp: false }), { stopNow: false, drainFirst: false });
  t.match(decideSwitchover({ ...queued, pass: 1 }), { stopNow: false, drainFirst: false });
});

t.test("what is under way on the path does not wait: the round trips count it", async (t) => {
  const far = { ...calm, rttMs: 100, unsentBytes: 0 };
  const onPath = 10e6 * 0.1;
  const empty = decideSwitchover(far).expectedDowntimeMs;
  t.equal(decideSwitchover({ ...far, backlogBytes: onPath }).expectedDowntimeMs, empty);
  t.ok(decideSwitchover({ ...far, backlogBytes: onPath + 100_000 }).expectedDowntimeMs > empty + 9);
});

t.test("a rate that is only known to be no less is not held against little data", async (t) => {
  // Frames of 50 kB, each acknowledged after 200 ms: the link may carry far more.
  const few = {
    ...calm,
    rttMs: 200,
    bytesPerSecond: 250_000,
    unsentBytes: 15_000,
    encodedShare: 1,
    budgetMs: 75,
  };
  t.notOk(decideSwitchover(few).stopNow);
  t.ok(decideSwitchover({ ...few, isLinkLimited: false }).stopNow);
  t.notOk(decideSwitchover({ ...few, isLinkLimited: false, unsentBytes: 200_000 }).stopNow);
});

t.test("never while the link is lost: nobody could take the VM over", async (t) => {
  t.notOk(decideSwitchover({ ...calm, isLinkUp: false, ...unsent(0) }).stopNow);
});

t.test("never in the first pass, which has not seen all of the memory", async (t) => {
  t.notOk(decideSwitchover({ ...calm, pass: 1, ...unsent(0) }).stopNow);
});

t.test("not while too much is to be sent, or waits to be acknowledged", async (t) => {
  t.notOk(decideSwitchover({ ...calm, ...unsent(100 << 20) }).stopNow);
  t.notOk(decideSwitchover({ ...calm, backlogBytes: 10 << 20 }).stopNow);
  t.notOk(decideSwitchover({ ...calm, bytesPerSecond: 1e5 }).stopNow);
});

t.test("not before the first round of the disks is over, however little is left", async (t) => {
  const disks = { isBulkDone: false, encodedBytes: 0 };
  t.notOk(decideSwitchover({ ...calm, ...unsent(0), disks }).stopNow);
  t.ok(decideSwitchover({ ...calm, disks: { ...disks, isBulkDone: true } }).stopNow);
});

t.test("what disks still make on the WAN counts like what RAM makes", async (t) => {
  const disks = { isBulkDone: true, encodedBytes: 10 << 20 };
  t.notOk(decideSwitchover({ ...calm, disks }).stopNow);
  // A power of two, so that no rounding comes between the two sums.
  const inputs = { ...calm, encodedShare: 0.125 };
  const asRam = { ...inputs, ...unsent(inputs.unsentBytes + (80 << 20)) };
  t.equal(
    decideSwitchover({ ...inputs, disks }).expectedDowntimeMs,
    decideSwitchover(asRam).expectedDowntimeMs,
  );
});

t.test("a far peer alone does not keep it from stopping", async (t) => {
  const { stopNow, expectedDowntimeMs } = decideSwitchover({ ...calm, rttMs: 1000 });
  t.ok(stopNow);
  t.ok(expectedDowntimeMs >= 1500);
});

t.test("before a measurement a slow link is assumed", async (t) => {
  const unknown = { ...calm, bytesPerSecond: null, rttMs: Number.POSITIVE_INFINITY };
  t.ok(
    decideSwitchover(unknown).expectedDowntimeMs < 1000,
    "an unknown round trip does not count as infinite",
  );
  t.notOk(decideSwitchover({ ...unknown, ...unsent(10 << 20) }).stopNow);
  t.ok(Number.isFinite(decideSwitchover({ ...calm, bytesPerSecond: 0 }).expectedDowntimeMs));
});

t.test("more left or a slower link never shorten what is expected", async () => {
  const anyInputs = fc.record({
    backlogBytes: fc.nat(1 << 28),
    bytesPerSecond: fc.double({ min: 1, max: 1e10, noNaN: true }),
    rttMs: fc.double({ min: 0, max: 5000, noNaN: true }),
    isLinkLimited: fc.boolean(),
    unsentBytes: fc.nat(1 << 30),
    unsentDrainedBytes: fc.nat(1 << 30),
    encodedShare: fc.double({ min: 0, max: 1, noNaN: true }),
    disks: fc.option(fc.record({ isBulkDone: fc.boolean(), encodedBytes: fc.nat(1 << 28) })),
    pass: fc.integer({ min: 1, max: 50 }),
    budgetMs: fc.integer({ min: 1, max: 10_000 }),
    isLinkUp: fc.boolean(),
  });
  fc.assert(
    fc.property(anyInputs, (inputs) => {
      const before = decideSwitchover(inputs);
      const worse = [
        { ...inputs, backlogBytes: inputs.backlogBytes + 1000 },
        { ...inputs, unsentBytes: inputs.unsentBytes + 4096 },
        { ...inputs, bytesPerSecond: Math.max(1, inputs.bytesPerSecond / 2) },
        { ...inputs, isLinkUp: false },
        { ...inputs, disks: { isBulkDone: false, encodedBytes: inputs.disks?.encodedBytes ?? 0 } },
        {
          ...inputs,
          disks: {
            isBulkDone: inputs.disks?.isBulkDone ?? true,
            encodedBytes: (inputs.disks?.encodedBytes ?? 0) + 512,
          },
        },
      ];
      return worse.every((other) => {
        const after = decideSwitchover(other);
        return after.expectedDowntimeMs >= before.expectedDowntimeMs && (before.stopNow || !after.stopNow);
      });
    }),
  );
});

t.test("a checkpoint pauses for what it has to read, whatever the link", async (t) => {
  const slow = { ...calm, bytesPerSecond: 1000, rttMs: 5000, backlogBytes: 1 << 30, isLinkUp: false };
  const { stopNow, drainFirst, expectedDowntimeMs } = decidePause({ ...slow, ...unsent(6 << 20) });
  t.ok(stopNow);
  t.notOk(drainFirst);
  t.ok(expectedDowntimeMs > 90 && expectedDowntimeMs < 300, `${expectedDowntimeMs} ms`);
  t.notOk(decidePause({ ...calm, ...unsent(30 << 20) }).stopNow, "470 ms are too long");
  t.notOk(decidePause({ ...calm, pass: 1 }).stopNow, "not in the first pass");
  const disks = { isBulkDone: false, encodedBytes: 0 };
  t.notOk(decidePause({ ...calm, disks }).stopNow, "not before the first round of the disks");
  t.ok(
    decidePause({ ...calm, disks: { isBulkDone: true, encodedBytes: 1 << 40 } }).stopNow,
    "the rest is read later",
  );
  t.notOk(
    decidePause({ ...calm, ...unsent(65 << 20), budgetMs: 60_000 }).stopNow,
    "what waits in memory has a limit",
  );
});

import fc from "fast-check";
import t from "tap";
import { decideSwitchover, type SwitchoverInputs } from "../../cli/leg/switchover.ts";

const calm: SwitchoverInputs = {
  backlogBytes: 0,
  bytesPerSecond: 10e6,
  rttMs: 40,
  remainingBytes: 1 << 20,
  encodedShare: 0.1,
  disks: null,
  pass: 3,
  downtimeLimitMs: 300,
  isLinkUp: true,
};

t.test("it stops when what is left fits the limit, and says what to expect", async (t) => {
  const { stopNow, expectedDowntimeMs } = decideSwitchover(calm);
  t.ok(stopNow);
  t.ok(expectedDowntimeMs > 60 && expectedDowntimeMs < 90, `${expectedDowntimeMs}`);
});

t.test("never while the link is lost: nobody could take the VM over", async (t) => {
  t.notOk(decideSwitchover({ ...calm, isLinkUp: false, remainingBytes: 0 }).stopNow);
});

t.test("never in the first pass, which has not seen all of the memory", async (t) => {
  t.notOk(decideSwitchover({ ...calm, pass: 1, remainingBytes: 0 }).stopNow);
});

t.test("not while too much is to be sent, or waits to be acknowledged", async (t) => {
  t.notOk(decideSwitchover({ ...calm, remainingBytes: 100 << 20 }).stopNow);
  t.notOk(decideSwitchover({ ...calm, backlogBytes: 10 << 20 }).stopNow);
  t.notOk(decideSwitchover({ ...calm, bytesPerSecond: 1e5 }).stopNow);
});

t.test("not before the first round of the disks is over, however little is left", async (t) => {
  const disks = { isBulkDone: false, encodedBytes: 0 };
  t.notOk(decideSwitchover({ ...calm, remainingBytes: 0, disks }).stopNow);
  t.ok(decideSwitchover({ ...calm, disks: { ...disks, isBulkDone: true } }).stopNow);
});

t.test("what disks still make on the WAN counts like what RAM makes", async (t) => {
  const disks = { isBulkDone: true, encodedBytes: 10 << 20 };
  t.notOk(decideSwitchover({ ...calm, disks }).stopNow);
  // A power of two, so that no rounding comes between the two sums.
  const inputs = { ...calm, encodedShare: 0.125 };
  const asRam = { ...inputs, remainingBytes: inputs.remainingBytes + (80 << 20) };
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
  t.notOk(decideSwitchover({ ...unknown, remainingBytes: 10 << 20 }).stopNow);
  t.ok(Number.isFinite(decideSwitchover({ ...calm, bytesPerSecond: 0 }).expectedDowntimeMs));
});

t.test("more left, a slower link or a farther peer never shorten what is expected", async () => {
  const anyInputs = fc.record({
    backlogBytes: fc.nat(1 << 28),
    bytesPerSecond: fc.double({ min: 1, max: 1e10, noNaN: true }),
    rttMs: fc.double({ min: 0, max: 5000, noNaN: true }),
    remainingBytes: fc.nat(1 << 30),
    encodedShare: fc.double({ min: 0, max: 1, noNaN: true }),
    disks: fc.option(fc.record({ isBulkDone: fc.boolean(), encodedBytes: fc.nat(1 << 28) })),
    pass: fc.integer({ min: 1, max: 50 }),
    downtimeLimitMs: fc.integer({ min: 1, max: 10_000 }),
    isLinkUp: fc.boolean(),
  });
  fc.assert(
    fc.property(anyInputs, (inputs) => {
      const before = decideSwitchover(inputs);
      const worse = [
        { ...inputs, backlogBytes: inputs.backlogBytes + 1000 },
        { ...inputs, remainingBytes: inputs.remainingBytes + 4096 },
        { ...inputs, bytesPerSecond: Math.max(1, inputs.bytesPerSecond / 2) },
        { ...inputs, rttMs: inputs.rttMs + 1 },
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

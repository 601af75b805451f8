import fc from "fast-check";
import t from "tap";
import { decideSwitchover, type SwitchoverInputs } from "../../cli/leg/switchover.ts";

const calm: SwitchoverInputs = {
  backlogBytes: 0,
  bytesPerSecond: 10e6,
  rttMs: 40,
  remainingBytes: 1 << 20,
  encodedShare: 0.1,
  pass: 3,
  downtimeLimitMs: 300,
};

t.test("it stops when what is left fits the limit, and says what to expect", async (t) => {
  const { stopNow, expectedDowntimeMs } = decideSwitchover(calm);
  t.ok(stopNow);
  t.ok(expectedDowntimeMs > 60 && expectedDowntimeMs < 90, `${expectedDowntimeMs}`);
});

t.test("never in the first pass, which has not seen all of the memory", async (t) => {
  t.notOk(decideSwitchover({ ...calm, pass: 1, remainingBytes: 0 }).stopNow);
});

t.test("not while too much is to be sent, or waits to be acknowledged", async (t) => {
  t.notOk(decideSwitchover({ ...calm, remainingBytes: 100 << 20 }).stopNow);
  t.notOk(decideSwitchover({ ...calm, backlogBytes: 10 << 20 }).stopNow);
  t.notOk(decideSwitchover({ ...calm, bytesPerSecond: 1e5 }).stopNow);
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
    pass: fc.integer({ min: 1, max: 50 }),
    downtimeLimitMs: fc.integer({ min: 1, max: 10_000 }),
  });
  fc.assert(
    fc.property(anyInputs, (inputs) => {
      const before = decideSwitchover(inputs);
      const worse = [
        { ...inputs, backlogBytes: inputs.backlogBytes + 1000 },
        { ...inputs, remainingBytes: inputs.remainingBytes + 4096 },
        { ...inputs, bytesPerSecond: Math.max(1, inputs.bytesPerSecond / 2) },
        { ...inputs, rttMs: inputs.rttMs + 1 },
      ];
      return worse.every((other) => {
        const after = decideSwitchover(other);
        return after.expectedDowntimeMs >= before.expectedDowntimeMs && (before.stopNow || !after.stopNow);
      });
    }),
  );
});

import t from "tap";
import { initialBytesOf, learn, legsTowards } from "../../cli/predict/learned.ts";
import { legOf } from "./leg-records.ts";

const way = { kind: "return", vm: "web1", hasDisks: false } as const;
const close = (a: number, b: number) => Math.abs(a - b) <= Math.abs(b) * 1e-6;

t.test("without legs there are defaults", async (t) => {
  const found = learn([], way);
  t.equal(found.legs, 0);
  t.ok(found.speeds.fixedSeconds > 0 && found.deviceBytes > 0 && found.messages.bytes > 0);
});

t.test("what the link and the handover do not explain of a leg is fixed", async (t) => {
  // 1 s − 0.16 s of downtime − 0.1 s before it − 0.5 · 40 ms − 5 MB / 12.5 MB/s = 0.32 s; downtime 0.16 − 0.06 = 0.1 s.
  const { speeds, messages } = learn([legOf()], way);
  t.ok(close(speeds.fixedSeconds, 0.32), String(speeds.fixedSeconds));
  t.ok(close(speeds.activateSeconds, 0.1));
  t.ok(close(messages.bytes, 65_000 - 10_000), "what is left of the wire's bytes beside 0.2 %");
});

t.test("disks have a fixed time of their own, as soon as legs with disks have told it", async (t) => {
  const withDisks = { ...way, hasDisks: true };
  const slow = legOf({ disks: 1, measured: { ...legOf().measured, totalMs: 1900 } });
  t.ok(close(learn([legOf(), legOf()], withDisks).speeds.fixedSeconds, 0.32 + 0.3));
  t.ok(close(learn([legOf(), slow, slow, legOf()], withDisks).speeds.fixedSeconds, 1.22));
  t.ok(close(learn([legOf(), slow, slow, legOf()], way).speeds.fixedSeconds, 0.32));
});

t.test("a first pass that the host has limited tells how fast it compares", async (t) => {
  // A pass takes 0.08 s, 8 MB at 100 MB/s as long: of 0.56 s, 80 MB were compared in 0.4 s.
  const measured = { ...legOf().measured, firstPassMs: 560 };
  const leg = legOf({ measured, pageWireBytes: 1e6, givenBytesPerSecond: 125e6, bytesPerSecond: 100e6 });
  t.ok(close(learn([leg], way).speeds.compareBytesPerSecond, 200e6));
  const limited = legOf({ measured, pageWireBytes: 6e6 });
  t.not(learn([limited], way).speeds.compareBytesPerSecond, 200e6, "that was the link's time");
});

t.test("a large memory shows that comparing is faster than small ones told", async (t) => {
  // 800 MB in 1 s: at least 800 MB/s, though the link had its part in it.
  const small = { ...legOf().measured, firstPassMs: 480 };
  const host = { pageWireBytes: 1e6, givenBytesPerSecond: 125e6, bytesPerSecond: 100e6 };
  const large = legOf({
    filledBytes: 800e6,
    pageWireBytes: 10e6,
    measured: { ...legOf().measured, firstPassMs: 1000 },
  });
  const legs = [legOf({ measured: small, ...host }), large];
  t.ok(close(learn(legs, way).speeds.compareBytesPerSecond, 800e6));
});

t.test("of passes that the host has limited those over large memories without disks count", async (t) => {
  const host = { pageWireBytes: 1e6, givenBytesPerSecond: 125e6, bytesPerSecond: 100e6, changedBytes: 0 };
  const pass = (filledBytes: number, firstPassMs: number, disks = 0) =>
    legOf({ ...host, filledBytes, disks, measured: { ...legOf().measured, firstPassMs } });
  const legs = [pass(20e6, 180), pass(20e6, 190), pass(20e6, 200), pass(400e6, 580), pass(390e6, 980, 1)];
  t.ok(close(learn(legs, way).speeds.compareBytesPerSecond, 800e6), "400 MB in 0.5 s");
});

t.test("what a VM with disks stands still for says nothing of one without", async (t) => {
  const plain = legOf({ measured: { ...legOf().measured, downtimeMs: 100 } });
  const long = legOf({ disks: 1, measured: { ...legOf().measured, downtimeMs: 260 } });
  const legs = [plain, plain, long, long, long];
  t.ok(close(learn(legs, way).speeds.activateSeconds, 0.04));
  t.ok(close(learn(legs, { ...way, hasDisks: true }).speeds.activateSeconds, 0.2));
  t.ok(close(learn([plain, long, long], way).speeds.activateSeconds, 0.2), "one is too few");
});

t.test("a leg that had much to encode tells how much longer that takes than a sample", async (t) => {
  // 0.08 s of the pass itself, 80 MB at 1 GB/s in 0.08 s, frames in 0.01 s; 40 MB at 100 MB/s would be 0.4 s, and took 1.12 s.
  const measured = { ...legOf().measured, totalMs: 2000, firstPassMs: 1290 };
  const leg = legOf({
    measured,
    changedBytes: 40e6,
    pageWireBytes: 1e6,
    givenBytesPerSecond: 125e6,
    bytesPerSecond: 100e6,
  });
  t.ok(close(learn([leg, leg], way).encoding.alone, 2.8));
});

t.test("what a leg waits for before its first page is its prediction, or the peer", async (t) => {
  const found = learn([], way);
  t.ok(found.predictSeconds > 0 && found.askSeconds > 0);
  t.ok(close(learn([legOf()], way).askSeconds, 0.06), "100 ms with a round trip of 40");
  const waited = legOf({ predictionMs: 250, measured: { ...legOf().measured, negotiatedMs: 252 } });
  const { predictSeconds, askSeconds } = learn([waited], way);
  t.ok(close(predictSeconds, 0.25));
  t.equal(askSeconds, found.askSeconds, "the peer's answer was there long before");
  const late = legOf({ predictionMs: 200, measured: { ...legOf().measured, negotiatedMs: 300 } });
  t.equal(learn([waited, waited, late], way).askSeconds, found.askSeconds, "the one was late by itself");
  t.ok(learn([waited, late, late], way).askSeconds > found.askSeconds, "most were, so it is the peer");
  const soon = legOf({ predictionMs: 100, measured: { ...legOf().measured, negotiatedMs: 95 } });
  t.ok(
    close(learn([soon, legOf({ measured: { ...soon.measured, negotiatedMs: 300 } })], way).askSeconds, 0.055),
    "never more than a leg has waited",
  );
});

t.test("legs to the same peer count, or all if there are none", async (t) => {
  const legs = [
    legOf({ to: "c", at: "2026-05-02T00:00:00.000Z" }),
    legOf({ at: "2026-05-01T00:00:00.000Z" }),
  ];
  t.same(
    legsTowards(legs, "b").map((leg) => leg.to),
    ["b"],
  );
  t.same(
    legsTowards(legs, "d").map((leg) => leg.to),
    ["b", "c"],
    "oldest first",
  );
});

t.test("device state: of this VM's own legs of that kind", async (t) => {
  const legs = [
    legOf({ vm: "db", deviceWireBytes: 9000 }),
    legOf({ deviceWireBytes: 500 }),
    legOf({ kind: "first", deviceWireBytes: 3000 }),
  ];
  t.equal(learn(legs, way).deviceBytes, 500);
  t.equal(learn(legs, { kind: "first", vm: "db", hasDisks: false }).deviceBytes, 3000);
});

t.test("how a connection starts is seen in its first bytes", async (t) => {
  // 14 480 + 28 960 + 57 920 in three round trips of 100 ms, 28 640 more at 10 MB/s, and the round trip of the answer.
  const slow = initialBytesOf({ bytes: 130_000, ms: 300 + 2.864 + 100 }, 10e6, 100);
  t.ok(slow !== null && Math.abs(slow - 14_480) < 200, String(slow));
  t.equal(initialBytesOf({ bytes: 130_000, ms: 113 }, 10e6, 100), 512 * 1024, "all at once");
  t.equal(initialBytesOf({ bytes: 130_000, ms: 20 }, 10e6, 2), null, "too short a way");
  t.equal(initialBytesOf(null, 10e6, 100), null);
});

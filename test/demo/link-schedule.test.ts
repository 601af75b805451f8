import fc from "fast-check";
import t from "tap";
import { LinkSchedule } from "../../cli/demo/link-schedule.ts";

/** 8 Mbit/s is 1000 bytes a millisecond. */
const rateBitsPerSecond = 8_000_000;

t.test("a parcel arrives after its bytes have left and the delay has passed", (t) => {
  const link = new LinkSchedule<string>({ rateBitsPerSecond, delayMs: 20, queueBytes: 10_000 });
  link.push("first", 1000, 100);
  link.push("second", 1000, 100);
  t.equal(link.spaceBytes, 8000);
  t.equal(link.nextMs(), 101, "the first departure");
  t.same([...link.take(120.9)], []);
  t.equal(link.departedBytes, 2000);
  t.equal(link.spaceBytes, 10_000);
  t.equal(link.nextMs(), 121);
  t.same([...link.take(121)], [{ parcel: "first", start: 0, end: 1000, dueMs: 121 }]);
  t.same([...link.take(122)], [{ parcel: "second", start: 0, end: 1000, dueMs: 122 }]);
  t.equal(link.nextMs(), undefined);
  t.end();
});

t.test("an idle transmitter saves up nothing", (t) => {
  const link = new LinkSchedule<string>({ rateBitsPerSecond, delayMs: 0, queueBytes: 10_000 });
  link.push("first", 1000, 0);
  t.same(parcels(link, 500), ["first"]);
  link.push("second", 1000, 500);
  t.same(parcels(link, 500.9), []);
  t.same(parcels(link, 501), ["second"]);
  t.end();
});

t.test("a long parcel arrives in pieces", (t) => {
  const link = new LinkSchedule<string>({ rateBitsPerSecond, delayMs: 5, queueBytes: 10_000 });
  link.push("long", 10_000, 0);
  const pieces = [...link.take(10)];
  t.ok(pieces.length > 1);
  t.ok(pieces.at(-1)!.end <= 5000, "no more than 5 ms of the rate");
  t.ok(pieces.at(-1)!.end > 5000 - 1448, "and all but the piece that is leaving");
  const rest = [...link.take(15)];
  t.equal(rest[0]!.start, pieces.at(-1)!.end, "without a gap");
  t.equal(rest.at(-1)!.end, 10_000);
  t.end();
});

t.test("the queue is bounded, and parcels of no bytes need no room", (t) => {
  const link = new LinkSchedule<string>({ rateBitsPerSecond, delayMs: 0, queueBytes: 1000 });
  link.push("full", 1000, 0);
  t.throws(() => link.push("more", 1, 0), RangeError);
  link.push("end", 0, 0);
  t.same(parcels(link, 0.5), [], "the end does not overtake");
  t.same(parcels(link, 1), ["full", "end"]);
  t.end();
});

t.test("a new rate holds from its moment on, also for the piece that is leaving", (t) => {
  const link = new LinkSchedule<string>({ rateBitsPerSecond, delayMs: 0, queueBytes: 10_000 });
  link.push("parcel", 1000, 0);
  link.setRate(rateBitsPerSecond / 10, 0.5);
  t.equal(link.nextMs(), 5.5, "half of it has left, the other half takes ten times as long");
  t.same(parcels(link, 5.5), ["parcel"]);
  link.setRate(rateBitsPerSecond, 6);
  link.push("next", 1000, 7);
  t.equal(link.nextMs(), 8);
  t.end();
});

t.test("a hold shifts all that is under way and all that comes", (t) => {
  const link = new LinkSchedule<string>({ rateBitsPerSecond, delayMs: 10, queueBytes: 10_000 });
  link.push("in the pipe", 1000, 0);
  link.push("leaving", 1000, 0.5);
  link.hold(100, 1.5);
  t.same(parcels(link, 101.5), []);
  link.push("waiting", 1000, 50);
  t.same(arrivals(link, 1000), [
    ["in the pipe", 111],
    ["leaving", 112],
    ["waiting", 113],
  ]);
  t.end();
});

t.test("holds that overlap last until the later end", (t) => {
  const link = new LinkSchedule<string>({ rateBitsPerSecond, delayMs: 10, queueBytes: 10_000 });
  link.push("in the pipe", 1000, 0);
  link.hold(100, 2);
  link.hold(100, 52);
  link.hold(10, 60);
  link.push("during", 1000, 70);
  t.same(arrivals(link, 1000), [
    ["in the pipe", 161],
    ["during", 163],
  ]);
  t.end();
});

t.test("clear forgets all but the bytes counted", (t) => {
  const link = new LinkSchedule<string>({ rateBitsPerSecond, delayMs: 10, queueBytes: 10_000 });
  link.push("one", 1000, 0);
  link.push("two", 1000, 0);
  link.hold(100, 1);
  link.clear();
  t.same(parcels(link, 1000), []);
  t.equal(link.spaceBytes, 10_000);
  t.equal(link.departedBytes, 1000);
  link.push("three", 1000, 20);
  t.equal(link.nextMs(), 21);
  t.end();
});

t.test("impossible shapes are refused", (t) => {
  const good = { rateBitsPerSecond, delayMs: 0, queueBytes: 1 };
  for (const bad of [
    { rateBitsPerSecond: 0 },
    { rateBitsPerSecond: Number.NaN },
    { rateBitsPerSecond: Infinity },
    { delayMs: -1 },
    { delayMs: Infinity },
    { queueBytes: 0 },
  ]) {
    t.throws(() => new LinkSchedule({ ...good, ...bad }), RangeError);
  }
  t.throws(() => new LinkSchedule(good).setRate(-1, 0), RangeError);
  t.end();
});

t.test("arrivals do not depend on when somebody looks", (t) => {
  const lengths = fc.array(fc.integer({ min: 0, max: 5000 }), { minLength: 1, maxLength: 20 });
  const looks = fc.array(fc.double({ min: 0, max: 100, noNaN: true }), { maxLength: 50 });
  fc.assert(
    fc.property(lengths, looks, fc.double({ min: 0, max: 50, noNaN: true }), (lengths, looks, delayMs) => {
      const link = new LinkSchedule<number>({ rateBitsPerSecond, delayMs, queueBytes: 1e6 });
      for (const [index, length] of lengths.entries()) link.push(index, length, 0);
      const seen: { parcel: number; start: number; end: number; dueMs: number }[] = [];
      for (const nowMs of [...looks.sort((a, b) => a - b), 1e6]) {
        for (const arrival of link.take(nowMs)) {
          const { dueMs } = arrival as unknown as { dueMs: number };
          if (dueMs > nowMs) return false;
          seen.push({ ...arrival, dueMs });
        }
      }
      let sentBytes = 0;
      let next = { parcel: 0, start: 0 };
      for (const { parcel, start, end, dueMs } of seen) {
        sentBytes += end - start;
        if (parcel !== next.parcel || start !== next.start) return false;
        next = end === lengths[parcel] ? { parcel: parcel + 1, start: 0 } : { parcel, start: end };
        if (Math.abs(dueMs - (sentBytes / 1000 + delayMs)) > 1e-6) return false;
      }
      return next.parcel === lengths.length && sentBytes === link.departedBytes;
    }),
  );
  t.end();
});

function parcels(link: LinkSchedule<string>, nowMs: number): string[] {
  return [...link.take(nowMs)].map(({ parcel }) => parcel);
}

/** Each parcel with the first tenth of a millisecond at which it is there. */
function arrivals(link: LinkSchedule<string>, untilMs: number): [string, number][] {
  const found: [string, number][] = [];
  for (let tenth = 0; tenth <= untilMs * 10; tenth++) {
    for (const parcel of parcels(link, tenth / 10)) found.push([parcel, tenth / 10]);
  }
  return found;
}

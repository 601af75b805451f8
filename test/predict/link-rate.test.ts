import t from "tap";
import { busyRate, shownEfficiency, shownRate, shownStart } from "../../cli/predict/link-rate.ts";
import { legOf } from "./leg-records.ts";

/** A leg that measured a rate, and had as much to send as takes so many seconds at it. */
const shown = (bytesPerSecond: number | null, seconds: number, given: number | null = null) =>
  legOf({
    bytesPerSecond,
    pageWireBytes: (bytesPerSecond ?? 0) * seconds,
    diskWireBytes: 0,
    givenBytesPerSecond: given,
  });

t.test("legs that kept the link busy say what it carries, however many short ones there are", async (t) => {
  const legs = [shown(12e6, 3), shown(2e6, 0.1), shown(3e6, 0.2), shown(1e6, 0.05), shown(null, 0)];
  t.equal(busyRate(legs), 12e6);
  t.equal(shownRate(legs), 12e6);
  t.equal(busyRate(legs.slice(1)), null);
  t.equal(shownRate(legs.slice(1)), 3e6, "else the most that was seen");
  t.equal(shownRate([]), null);
  t.equal(shownRate([shown(null, 0), shown(0, 1)]), null);
});

t.test("disks keep a link busy too", async (t) => {
  t.equal(busyRate([legOf({ bytesPerSecond: 5e6, pageWireBytes: 1e6, diskWireBytes: 9e6 })]), 5e6);
});

t.test("of what was said that a link carries, legs had a share", async (t) => {
  t.equal(shownEfficiency([]), null);
  t.equal(shownEfficiency([shown(9e6, 2)]), null, "nobody has said anything");
  t.equal(shownEfficiency([shown(9e6, 0.1, 10e6)]), null, "too short to tell");
  t.equal(shownEfficiency([shown(9e6, 2, 10e6), shown(1e6, 0.1, 10e6)]), 0.9);
  t.equal(
    shownEfficiency([shown(9e6, 2, 10e6), shown(20e6, 2, 100e6)]),
    0.9,
    "the other waited for the host",
  );
  t.equal(shownEfficiency([shown(11e6, 2, 10e6)]), 1, "never more than all");
  t.equal(shownEfficiency([shown(50e6, 2, 10e6)]), null, "what was said is wrong");
  const limited = { ...shown(5e6, 2, 10e6), limitBytesPerSecond: 5e6 };
  t.equal(shownEfficiency([limited]), null, "a limit of the leg's own says nothing of the link");
});

t.test("starts over short ways do not count: there the host shows, not TCP", async (t) => {
  const start = (rttMs: number | null, initialBytes: number | null) => legOf({ rttMs, initialBytes });
  t.equal(shownStart([]), null);
  t.equal(shownStart([start(100, null), start(null, 1e5)]), null);
  const legs = [
    start(10, 14_480),
    start(12, 14_480),
    start(120, 200_000),
    start(100, 500_000),
    start(61, 150_000),
  ];
  t.equal(shownStart(legs), 500_000, "three of four do not exceed it");
  t.equal(shownStart([...legs, start(90, null)]), 500_000, "one that does not tell is none of them");
  t.equal(shownStart(legs.slice(0, 2)), 14_480, "where all are short there is nothing else");
});

import fc from "fast-check";
import t from "tap";
import { maxSpreadBytes, maxSpreadFrames } from "../../cli/leg/frame-order.ts";
import { FrameSpreader } from "../../cli/leg/frame-spreader.ts";
import type { Lane } from "../../cli/leg/lane.ts";
import { frameOf, numberOf } from "./numbered-frames.ts";

/** A spreader with a clock that the test moves, and lanes that note what they were given. */
function spreader(mayRepeat = true) {
  const clock = { ms: 0 };
  const frames = new FrameSpreader(mayRepeat, () => clock.ms);
  const open = () => {
    const sent: number[] = [];
    const lane = frames.open((frame) => sent.push(numberOf(frame)));
    let arrived = 0;
    const arrive = (count = 1) => {
      arrived += count;
      return frames.arrived(lane, arrived);
    };
    return { lane, sent, arrive };
  };
  return { clock, frames, open };
}

const large = 200 * 1024;

t.test("frames wait until a lane is there, and then go to all of them", async (t) => {
  const { frames, open } = spreader();
  for (let sequence = 2; sequence < 8; sequence++) frames.add(frameOf(sequence, large), sequence);
  const one = open();
  t.strictSame(one.sent, [2, 3], "as much as a new lane takes");
  const other = open();
  t.strictSame(other.sent, [4, 5]);
});

t.test("a lane that carries more gets more", async (t) => {
  const { clock, frames, open } = spreader(false);
  const [fast, slow] = [open(), open()];
  let sequence = 2;
  const fill = () => {
    for (let i = 0; i < 4; i++, sequence++) frames.add(frameOf(sequence, large), sequence);
  };
  fill();
  for (let round = 1; round <= 60; round++) {
    clock.ms += 100;
    fast.arrive(fast.lane.underWay.length);
    if (round % 10 === 0) slow.arrive(1);
    fill();
  }
  t.ok((fast.lane.bytesPerSecond ?? 0) > 5 * (slow.lane.bytesPerSecond ?? 0), "their rates were measured");
  t.ok(fast.sent.length > 5 * slow.sent.length, `${fast.sent.length} and ${slow.sent.length} frames`);
  t.ok(slow.lane.underWay.length <= 2, "the slow one holds little that others must wait for");
  t.equal(frames.deliveredSequence, 1 + fast.lane.arrivedFrames + slow.lane.arrivedFrames);
});

t.test("what was on a lost lane goes over the others, before what comes later", async (t) => {
  const { frames, open } = spreader();
  const [one, other] = [open(), open()];
  for (let sequence = 2; sequence < 10; sequence++) frames.add(frameOf(sequence, large), sequence);
  t.strictSame(
    [one.sent, other.sent],
    [
      [2, 4],
      [3, 5],
    ],
  );
  one.arrive();
  t.equal(frames.close(one.lane), 2 * large, "4, and 6 that it was given when 2 had arrived");
  frames.acknowledged(2);
  other.arrive(2);
  t.strictSame(other.sent.slice(2, 4), [4, 6], "2 is not sent again");
  t.equal(frames.close(one.lane), 0, "it is lost once");
});

t.test("what was on a lost lane goes on also where no more may be under way", async (t) => {
  const { clock, frames, open } = spreader(false);
  const [blocked, free] = [open(), open()];
  for (let sequence = 2; sequence < 2000; sequence++) frames.add(frameOf(sequence, large), sequence);
  while (free.lane.underWay.length > 0) {
    clock.ms += 1;
    free.arrive();
  }
  const before = free.sent.length;
  frames.close(blocked.lane);
  t.strictSame(free.sent.slice(before), [2, 4], "the frames that all others wait for");
});

t.test("a frame that arrived on a lost lane is not sent again once that is known", async (t) => {
  const { frames, open } = spreader();
  const one = open();
  frames.add(frameOf(2, large), 2);
  frames.add(frameOf(3, large), 3);
  frames.close(one.lane);
  frames.acknowledged(2);
  const other = open();
  t.strictSame(other.sent, [3]);
});

t.test("a peer that says more has arrived than was sent is not believed", async (t) => {
  const { frames, open } = spreader();
  const one = open();
  frames.add(frameOf(2), 2);
  t.notOk(frames.arrived(one.lane, 2));
  t.ok(frames.arrived(one.lane, 1));
  t.ok(frames.arrived(one.lane, 1), "the same again is no harm");
  frames.acknowledged(Number.MAX_SAFE_INTEGER);
  t.equal(frames.deliveredSequence, Number.MAX_SAFE_INTEGER, "nor is one that acknowledges everything");
});

t.test("no more is under way than the peer may hold", async (t) => {
  const { clock, frames, open } = spreader();
  const [blocked, free] = [open(), open()];
  let sequence = 2;
  for (; sequence < 2000; sequence++) frames.add(frameOf(sequence, large), sequence);
  clock.ms += 1;
  const before = blocked.sent.length;
  while (free.lane.underWay.length > 0) {
    clock.ms += 1;
    free.arrive();
  }
  const sent = blocked.sent.length + free.sent.length;
  t.ok(sent * large <= maxSpreadBytes, `${sent} frames`);
  t.ok(sent > 40, "and something was");
  t.equal(blocked.sent.length, before, "the one that is blocked was given nothing more");

  const many = spreader();
  const lanes = [many.open(), many.open()] as const;
  for (let next = 2; next < 80_000; next++) many.frames.add(frameOf(next), next);
  for (const { lane, arrive } of [lanes[1]]) {
    while (lane.underWay.length > 0) {
      many.clock.ms += 1;
      arrive(lane.underWay.length);
    }
  }
  const highest = Math.max(...lanes.map(({ sent }) => sent.reduce((most, one) => Math.max(most, one), 0)));
  t.ok(highest <= 1 + maxSpreadFrames, `${highest} is not too far ahead`);
});

t.test(
  "a late frame is sent once more over a lane that has nothing to do, unless a rate is kept",
  async (t) => {
    const { clock, frames, open } = spreader();
    const [stuck, idle] = [open(), open()];
    for (let sequence = 2; sequence < 5; sequence++) frames.add(frameOf(sequence, large), sequence);
    t.strictSame([stuck.sent, idle.sent], [[2, 4], [3]]);
    clock.ms = 100;
    idle.arrive();
    frames.lookAgain();
    t.strictSame(idle.sent, [3], "nothing is late so far");
    clock.ms = 250;
    frames.lookAgain();
    t.strictSame(idle.sent, [3, 2]);
    t.equal(frames.repeatedBytes, large);
    frames.lookAgain();
    t.strictSame(idle.sent, [3, 2], "it has something to do now");
    clock.ms = 400;
    idle.arrive();
    t.strictSame(idle.sent, [3, 2, 4], "and each frame is repeated once");
    clock.ms = 500;
    stuck.arrive(2);
    idle.arrive();
    t.equal(frames.deliveredSequence, 4, "however often they have arrived");
    clock.ms = 5000;
    frames.lookAgain();
    t.equal(idle.sent.length, 3);

    const kept = spreader(false);
    const [, other] = [kept.open(), kept.open()];
    for (let sequence = 2; sequence < 5; sequence++) kept.frames.add(frameOf(sequence, large), sequence);
    kept.clock.ms = 100;
    other.arrive();
    kept.clock.ms = 5000;
    kept.frames.lookAgain();
    t.strictSame(other.sent, [3], "it would come on top of the rate");
  },
);

t.test("whatever is lost and late, every frame gets there", async () => {
  const steps = fc.array(fc.record({ lane: fc.nat(3), what: fc.nat(9), ms: fc.nat(300) }), {
    maxLength: 200,
  });
  fc.assert(
    fc.property(steps, fc.integer({ min: 1, max: 60 }), (plan, count) => {
      const clock = { ms: 0 };
      const frames = new FrameSpreader(true, () => clock.ms);
      const there = new Set<number>();
      const lanes: { lane: Lane; onWay: number[]; arrived: number }[] = [];
      const open = (at: number) => {
        const onWay: number[] = [];
        const lane = frames.open((frame) => onWay.push(numberOf(frame)));
        lanes[at] = { lane, onWay, arrived: 0 };
      };
      for (let at = 0; at < 4; at++) open(at);
      let stored = 1;
      const arrive = ({ lane, onWay }: (typeof lanes)[number], tell: boolean, at: number) => {
        const number = onWay.shift();
        if (number === undefined) return;
        there.add(number);
        const one = lanes[at];
        if (one && tell) frames.arrived(lane, ++one.arrived);
        else if (one) one.arrived++;
        while (there.has(stored + 1)) stored++;
        if (tell) frames.acknowledged(stored);
      };
      for (let sequence = 2; sequence < 2 + count; sequence++) frames.add(frameOf(sequence, large), sequence);
      for (const { lane: at, what, ms } of plan) {
        clock.ms += ms;
        const one = lanes[at] as (typeof lanes)[number];
        if (what === 0) {
          frames.close(one.lane);
          open(at);
        } else if (what === 1) frames.lookAgain();
        else arrive(one, what > 2, at);
      }
      for (let round = 0; round < 1000 && stored < 1 + count; round++) {
        clock.ms += 100;
        for (const [at, one] of lanes.entries()) arrive(one, true, at);
      }
      return stored === 1 + count;
    }),
  );
});

import t from "tap";
import { LinkLoad } from "../../cli/leg/link-load.ts";

/** A link that is full for that share of each so many milliseconds, for some seconds. */
function loaded(share: number, periodMs: number) {
  const clock = { ms: 1e6 };
  const load = new LinkLoad(() => clock.ms);
  const cycle = () => {
    load.setFull(true);
    clock.ms += share * periodMs;
    load.setFull(true);
    load.setFull(false);
    clock.ms += (1 - share) * periodMs;
    load.setFull(false);
  };
  for (let i = 0; i < 5000 / periodMs; i++) cycle();
  return { clock, load, cycle };
}

t.test("a link is busy that is full for more than a quarter of the time", async (t) => {
  for (const periodMs of [1, 10, 100]) {
    t.equal(loaded(0.2, periodMs).load.isBusy, false);
    t.equal(loaded(0.35, periodMs).load.isBusy, true);
    t.equal(loaded(1, periodMs).load.isBusy, true);
  }
});

t.test("one that is not told of is idle", async (t) => {
  const clock = { ms: 0 };
  const load = new LinkLoad(() => clock.ms);
  t.equal(load.isBusy, false);
  clock.ms += 10_000;
  t.equal(load.isBusy, false);
});

t.test("what it was does not count for long", async (t) => {
  const { clock, load } = loaded(1, 10);
  clock.ms += 500;
  t.equal(load.isBusy, true);
  clock.ms += 500;
  t.equal(load.isBusy, false);
  load.setFull(true);
  clock.ms += 400;
  t.equal(load.isBusy, true);
  clock.ms += 10_000;
  t.equal(load.isBusy, true);
});

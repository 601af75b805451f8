import t from "tap";
import { Tracking, type TrackingTask } from "../../cli/agent/tracking.ts";
import type { StandingEnd, StandingMigration } from "../../cli/leg/standing-migration.ts";

// What is waited for here does not keep a program alive.
const alive = setInterval(() => {}, 1000);
t.teardown(() => clearInterval(alive));

const times = { againMs: 1, failedMs: 2, longestMs: 5, provenMs: 1000 };

/** A standing migration of which only the end matters. */
class FakeStanding {
  heldSince: number | null = null;
  discarded: string | null = null;
  end: (end: StandingEnd) => void = () => {};
  readonly over = new Promise<StandingEnd>((resolve) => {
    this.end = resolve;
  });
  cleanUp: Promise<void> = Promise.resolve();

  async discard(why: string): Promise<void> {
    this.discarded ??= why;
    this.end({ how: "given-up", why });
    await this.cleanUp;
  }
}

/** Tracking whose migrations are made here, one after the other. */
function tracked(changes: Partial<TrackingTask> = {}) {
  const made: FakeStanding[] = [];
  const logged: string[] = [];
  const waiting: (() => void)[] = [];
  const task: TrackingTask = {
    make: async () => {
      const one = new FakeStanding();
      made.push(one);
      for (const wake of waiting.splice(0)) wake();
      return one as unknown as StandingMigration;
    },
    isFree: () => true,
    log: (message) => logged.push(message),
    ...changes,
  };
  const tracking = new Tracking(times);
  const nextMade = async () => {
    await new Promise<void>((resolve) => waiting.push(resolve));
    await turn();
    return made.at(-1) as FakeStanding;
  };
  return { tracking, task, made, logged, nextMade };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

t.test("one is made when it is wanted, and is there for a leg", async (t) => {
  const { tracking, task, nextMade } = tracked();
  t.equal(tracking.standing, null);
  const next = nextMade();
  tracking.watch(task, 0);
  t.ok(tracking.isWatched);
  const one = await next;
  t.equal(tracking.standing, one);
  t.ok(tracking.isActive);
  t.equal(await tracking.forLeg(), one);
  t.equal(one.discarded, null);
  await tracking.end("the test is over");
  t.equal(one.discarded, "the test is over");
});

t.test("given up, it is made again; adopted by a leg that comes to nothing, too", async (t) => {
  const { tracking, task, nextMade } = tracked();
  let next = nextMade();
  tracking.watch(task, 0);
  const first = await next;
  next = nextMade();
  await tracking.giveUp("prune");
  t.equal(first.discarded, "prune");
  t.match(tracking.reason, /given up: prune/);
  const second = await next;
  t.equal(tracking.standing, second);
  next = nextMade();
  second.end({ how: "adopted", why: "" });
  t.not(await next, second);
  t.equal(second.discarded, null, "what a leg has taken over is the leg's");
  await tracking.end("");
});

t.test("failures are spaced out, told, and counted until one has held for long", async (t) => {
  const { tracking, task, logged, nextMade } = tracked();
  let next = nextMade();
  tracking.watch(task, 0);
  for (let i = 0; i < 3; i++) {
    const one = await next;
    next = nextMade();
    if (i === 2) one.heldSince = Date.now() - 2 * times.provenMs;
    one.end({ how: "failed", why: `reason ${i}` });
    await turn();
    t.equal(one.discarded, `reason ${i}`, "it is cleaned up");
    t.equal(tracking.reason, `reason ${i}`);
  }
  await next;
  t.equal(logged.length, 3);
  await tracking.end("");
});

t.test("waiting times double, up to the longest", async (t) => {
  const { tracking, task, logged, nextMade } = tracked();
  const seen: string[] = [];
  let next = nextMade();
  tracking.watch({ ...task, log: (message) => seen.push(message) }, 0);
  for (let i = 0; i < 4; i++) {
    const one = await next;
    next = nextMade();
    one.end({ how: "failed", why: "no" });
  }
  await next;
  const inSeconds = seen.map((message) => message.match(/again in ([0-9.]+) s/)?.[1]);
  t.strictSame(inSeconds, ["0.002", "0.004", "0.005", "0.005"]);
  t.strictSame(logged, []);
  await tracking.end("");
});

t.test("a busy VM is left alone until it is free", async (t) => {
  let asked = 0;
  const { tracking, task, made, nextMade } = tracked({ isFree: () => ++asked > 3 });
  const next = nextMade();
  tracking.watch(task, 0);
  await next;
  t.equal(asked, 4);
  t.equal(made.length, 1);
  await tracking.end("");
});

t.test("useless, or gone: it is not tried again", async (t) => {
  const { tracking, task, nextMade } = tracked();
  const next = nextMade();
  tracking.watch(task, 0);
  (await next).end({ how: "useless", why: "too empty" });
  await turn();
  t.notOk(tracking.isWatched);
  t.equal(tracking.reason, "too empty");
  let wake = () => {};
  const asked = new Promise<void>((resolve) => {
    wake = resolve;
  });
  const gone = new Tracking(times);
  gone.watch(
    {
      ...task,
      make: async () => {
        wake();
        return null;
      },
    },
    0,
  );
  await asked;
  await turn();
  t.notOk(gone.isWatched);
  t.notOk(gone.isActive);
});

t.test("whatever wants QEMU waits until one that is being made, or that failed, is gone", async (t) => {
  let finish = (_made: StandingMigration) => {};
  let begun = () => {};
  const hasBegun = new Promise<void>((resolve) => {
    begun = resolve;
  });
  let isCut = false;
  const { tracking, task } = tracked({
    make: (signal) => {
      begun();
      signal.addEventListener("abort", () => {
        isCut = true;
      });
      return new Promise((resolve) => {
        finish = resolve;
      });
    },
  });
  tracking.watch(task, 0);
  await hasBegun;
  let isOver = false;
  const leg = tracking.forLeg().then((found) => {
    isOver = true;
    return found;
  });
  await turn();
  t.ok(isCut, "it is told to hurry");
  t.notOk(isOver);
  const late = new FakeStanding();
  finish(late as unknown as StandingMigration);
  t.equal(await leg, null);
  t.equal(late.discarded, "it was not wanted any more");
  await tracking.end("");
});

t.test("a leg waits for the end of one that has failed", async (t) => {
  const { tracking, task, nextMade } = tracked();
  const next = nextMade();
  tracking.watch(task, 0);
  const one = await next;
  let cleaned = () => {};
  one.cleanUp = new Promise((resolve) => {
    cleaned = resolve;
  });
  one.end({ how: "failed", why: "QEMU said no" });
  await turn();
  t.ok(tracking.isActive);
  let isOver = false;
  const leg = tracking.forLeg().then((found) => {
    isOver = true;
    return found;
  });
  await turn();
  t.notOk(isOver);
  cleaned();
  t.equal(await leg, null);
  await tracking.end("");
});

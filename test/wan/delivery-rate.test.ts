import t from "tap";
import { DeliveryRate } from "../../cli/wan/delivery-rate.ts";
import { SimulatedLink } from "./simulated-link.ts";

const frame = 128 * 1024;

t.test("before the first acknowledgement nothing is known", async (t) => {
  const rate = new DeliveryRate();
  t.equal(rate.bytesPerSecond, null);
  t.equal(rate.isLinkLimited, false);
  t.equal(rate.minRttMs, Number.POSITIVE_INFINITY);
  t.equal(rate.windowBytes(0), 512 * 1024);
  rate.sent(1, 1000, 0);
  t.equal(rate.unacknowledgedBytes, 1000);
});

t.test("a sender that fills the window fills the link, and little more than the link", async (t) => {
  for (const [megabits, rttMs] of [
    [40, 20],
    [50, 200],
    [100, 40],
    [1000, 10],
    [1000, 100],
  ] as const) {
    const rate = new DeliveryRate();
    const bytesPerSecond = megabits * 125_000;
    const link = new SimulatedLink(rate, { bytesPerSecond, rttMs });
    link.run(2000, { frame });
    const before = rate.deliveredBytes;
    let mostQueuedMs = 0;
    link.run(4000, { frame, each: () => (mostQueuedMs = Math.max(mostQueuedMs, link.queuedMs)) });
    const used = (rate.deliveredBytes - before) / (4 * bytesPerSecond);
    t.ok(used > 0.97, `${megabits} Mbit/s, ${rttMs} ms: ${used} of the link is used`);
    const measured = (rate.bytesPerSecond ?? 0) / bytesPerSecond;
    t.ok(measured > 0.95 && measured < 1.05, `measured ${measured} of it`);
    t.ok(rate.isLinkLimited);
    const boundMs = Math.max(
      (768 * 1024 * 1000) / bytesPerSecond,
      0.6 * rttMs + (384 * 1024 * 1000) / bytesPerSecond,
    );
    t.ok(mostQueuedMs <= boundMs, `at most ${mostQueuedMs} ms wait, the bound is ${boundMs}`);
  }
});

t.test("a link that has become slow is believed after a few seconds", async (t) => {
  const rate = new DeliveryRate();
  const link = new SimulatedLink(rate, { bytesPerSecond: 10e6, rttMs: 10 });
  link.run(2000, { frame });
  link.bytesPerSecond = 1e6;
  link.run(8000, { frame });
  const measured = rate.bytesPerSecond ?? 0;
  t.ok(measured > 0.9e6 && measured < 1.1e6, `${measured}`);
});

t.test("a link that has become fast is found out", async (t) => {
  const rate = new DeliveryRate();
  const link = new SimulatedLink(rate, { bytesPerSecond: 2e6, rttMs: 50 });
  link.run(3000, { frame });
  link.bytesPerSecond = 20e6;
  link.run(4000, { frame });
  const measured = rate.bytesPerSecond ?? 0;
  t.ok(measured > 18e6, `${measured}`);
});

t.test("a path that has become longer is found out: the link is full again", async (t) => {
  const rate = new DeliveryRate();
  const link = new SimulatedLink(rate, { bytesPerSecond: 25e6, rttMs: 10 });
  link.run(3000, { frame });
  link.rttMs = 150;
  link.run(30_000, { frame });
  t.ok(rate.minRttMs >= 150 && rate.minRttMs < 170, `${rate.minRttMs} ms`);
  const before = rate.deliveredBytes;
  link.run(5000, { frame });
  const used = (rate.deliveredBytes - before) / (5 * 25e6);
  t.ok(used > 0.95, `${used} of the link is used`);
});

t.test("the shortest round trip does not grow by the queue that the window itself makes", async (t) => {
  const rate = new DeliveryRate();
  const link = new SimulatedLink(rate, { bytesPerSecond: 12.5e6, rttMs: 40 });
  link.run(120_000, { frame });
  t.ok(
    rate.minRttMs >= 40 && rate.minRttMs <= 40 + 3 * (frame / 12_500),
    `${rate.minRttMs} ms after two minutes`,
  );
  const before = rate.deliveredBytes;
  link.run(30_000, { frame });
  const used = (rate.deliveredBytes - before) / (30 * 12.5e6);
  t.ok(used > 0.97, `${used} of the link is used, also while it is measured`);
});

t.test("little data at a far peer does not make the link slow", async (t) => {
  const rate = new DeliveryRate();
  const link = new SimulatedLink(rate, { bytesPerSecond: 10e6, rttMs: 200 });
  link.run(4000, { frame });
  const window = rate.windowBytes(link.now);
  // A frame of 4 KiB every 100 ms for a minute: 0.4 % of what the link carries.
  for (let i = 0; i < 600; i++) link.run(100, { frame: 4096, atMost: 1 });
  const measured = rate.bytesPerSecond ?? 0;
  t.ok(measured > 9e6, `${measured} bytes a second`);
  t.ok(rate.windowBytes(link.now) > window * 0.7 || rate.windowBytes(link.now) > 1e6, "and the window stays");
});

t.test("little data alone gives a rate that is known to be no more than a lower bound", async (t) => {
  const rate = new DeliveryRate();
  const link = new SimulatedLink(rate, { bytesPerSecond: 10e6, rttMs: 200 });
  for (let i = 0; i < 20; i++) link.run(300, { frame: 4096, atMost: 3 });
  t.equal(rate.isLinkLimited, false);
  t.ok((rate.bytesPerSecond ?? 0) > 0);
  t.equal(rate.windowBytes(link.now), 512 * 1024);
});

t.test("acknowledgements that come in a bunch do not make the link fast", async (t) => {
  const rate = new DeliveryRate();
  const link = new SimulatedLink(rate, { bytesPerSecond: 5e6, rttMs: 20, bunchMs: 70 });
  link.run(6000, { frame });
  const measured = rate.bytesPerSecond ?? 0;
  t.ok(measured > 4.6e6 && measured < 5.4e6, `${measured}`);
});

t.test("after a long silence the newest measurement still stands", async (t) => {
  const rate = new DeliveryRate();
  const link = new SimulatedLink(rate, { bytesPerSecond: 5e6, rttMs: 10 });
  link.run(2000, { frame });
  link.now += 60_000;
  t.ok((rate.bytesPerSecond ?? 0) > 4.5e6);
});

t.test("one acknowledgement stands for all frames before it; unknown numbers do nothing", async (t) => {
  const rate = new DeliveryRate();
  for (let i = 1; i <= 5; i++) rate.sent(i, 100, i);
  rate.acknowledged(3, 20);
  t.equal(rate.unacknowledgedBytes, 200);
  rate.acknowledged(2, 25);
  rate.acknowledged(3, 25);
  t.equal(rate.unacknowledgedBytes, 200);
  rate.acknowledged(99, 30);
  t.equal(rate.unacknowledgedBytes, 0);
  t.equal(rate.deliveredBytes, 500);
});

t.test("what was in flight when the link was lost does not count as slow", async (t) => {
  const rate = new DeliveryRate();
  const link = new SimulatedLink(rate, { bytesPerSecond: 10e6, rttMs: 40 });
  link.run(3000, { frame });
  link.stall(20_000);
  rate.restart(link.now);
  link.run(3000, { frame });
  t.ok((rate.bytesPerSecond ?? 0) > 9e6, `${rate.bytesPerSecond}`);
  t.ok(rate.minRttMs < 80, `${rate.minRttMs} ms`);
});

t.test("the window stays within its bounds", async (t) => {
  const slow = new DeliveryRate();
  const slowLink = new SimulatedLink(slow, { bytesPerSecond: 100_000, rttMs: 1 });
  slowLink.run(60_000, { frame });
  const little = slow.windowBytes(slowLink.now);
  t.ok(little < 512 * 1024, `a slow link gets ${little}`);
  const far = new DeliveryRate();
  for (let i = 1; i <= 4000; i++) far.sent(i, 1 << 20, i / 100);
  for (let i = 1; i <= 4000; i++) far.acknowledged(i, 60_000 + i / 100);
  t.equal(far.windowBytes(60_100), 256 << 20);
});

t.test("how long the first bytes took is kept", async (t) => {
  const rate = new DeliveryRate();
  rate.sent(1, 60_000, 1000);
  rate.sent(2, 60_000, 1010);
  rate.acknowledged(1, 1100);
  t.equal(rate.start, null, "too few to tell");
  rate.acknowledged(2, 1150);
  rate.sent(3, 60_000, 1160);
  rate.acknowledged(3, 1300);
  t.same(rate.start, { bytes: 120_000, ms: 140 }, "since the second");
  const late = new DeliveryRate();
  late.sent(1, 60_000, 1000);
  late.sent(2, 60_000, 1060);
  late.acknowledged(1, 1100);
  late.acknowledged(2, 1160);
  late.sent(3, 200_000, 1161);
  late.acknowledged(3, 1261);
  t.equal(late.start, null, "the sender had them one after the other");
});

import t from "tap";
import { DeliveryRate } from "../../cli/wan/delivery-rate.ts";

/** Sends frames as fast as the link takes them: `bytesPerSecond` after `rttMs`. */
function pump(
  rate: DeliveryRate,
  options: { bytesPerSecond: number; rttMs: number; frames: number; from?: number },
): number {
  const { bytesPerSecond, rttMs, frames, from = 0 } = options;
  const bytes = 100_000;
  const perFrameMs = (bytes / bytesPerSecond) * 1000;
  const events: [at: number, action: () => void][] = [];
  let end = from;
  for (let i = 1; i <= frames; i++) {
    const sentAt = from + (i - 1) * perFrameMs;
    const ackAt = from + i * perFrameMs + rttMs;
    events.push([sentAt, () => rate.sent(from * 1000 + i, bytes, sentAt)]);
    events.push([ackAt, () => rate.acknowledged(from * 1000 + i, ackAt)]);
    end = ackAt;
  }
  for (const [, action] of events.sort(([x], [y]) => x - y)) action();
  return end;
}

t.test("before the first acknowledgement nothing is known", async (t) => {
  const rate = new DeliveryRate();
  t.equal(rate.bytesPerSecond(0), null);
  t.equal(rate.minRttMs, Number.POSITIVE_INFINITY);
  t.equal(rate.windowBytes(0), 512 * 1024);
  rate.sent(1, 1000, 0);
  t.equal(rate.unacknowledgedBytes, 1000);
});

t.test("a steady link is measured, and the window holds about two of its products", async (t) => {
  const rate = new DeliveryRate();
  const now = pump(rate, { bytesPerSecond: 10e6, rttMs: 40, frames: 200 });
  const measured = rate.bytesPerSecond(now) ?? 0;
  t.ok(measured > 9e6 && measured < 11e6, `${measured}`);
  t.ok(rate.minRttMs >= 40 && rate.minRttMs <= 50.1);
  t.ok(rate.windowBytes(now) >= 2 * 10e6 * 0.04);
  t.ok(rate.windowBytes(now) <= 2 * 11e6 * 0.06 + 256 * 1024);
  t.equal(rate.unacknowledgedBytes, 0);
  t.equal(rate.deliveredBytes, 200 * 100_000);
});

t.test("a link that has become slow is believed after a few seconds", async (t) => {
  const rate = new DeliveryRate();
  let now = pump(rate, { bytesPerSecond: 10e6, rttMs: 10, frames: 50 });
  now = pump(rate, { bytesPerSecond: 1e6, rttMs: 10, frames: 60, from: Math.ceil(now) });
  const measured = rate.bytesPerSecond(now) ?? 0;
  t.ok(measured > 0.8e6 && measured < 1.5e6, `${measured}`);
});

t.test("after a long silence the newest measurement still stands", async (t) => {
  const rate = new DeliveryRate();
  const now = pump(rate, { bytesPerSecond: 5e6, rttMs: 10, frames: 20 });
  t.ok((rate.bytesPerSecond(now + 60_000) ?? 0) > 4e6);
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

t.test("the window stays within its bounds", async (t) => {
  const slow = new DeliveryRate();
  const little = slow.windowBytes(pump(slow, { bytesPerSecond: 1000, rttMs: 1, frames: 3 }));
  t.ok(little >= 192 * 1024 && little < 512 * 1024, "a slow link gets little, but more than a frame");
  const near = new DeliveryRate();
  t.ok(near.windowBytes(pump(near, { bytesPerSecond: 1e8, rttMs: 1, frames: 3 })) >= 512 * 1024);
  const far = new DeliveryRate();
  t.equal(far.windowBytes(pump(far, { bytesPerSecond: 1e9, rttMs: 60_000, frames: 5000 })), 256 << 20);
});

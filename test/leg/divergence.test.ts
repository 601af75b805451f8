import t from "tap";
import { parseRate, parseTime } from "../../cli/config/units.ts";
import { type DivergenceFigures, DivergenceWatch, divergenceEvent } from "../../cli/leg/divergence.ts";
import { lastDataMs } from "../../cli/leg/switchover.ts";

const link = { bytesPerSecond: 5e6, budgetMs: 300 };

/** A watch that saw passes of so many bytes, each as long as the one before takes to send. */
function watched(...bytes: number[]): DivergenceWatch {
  const watch = new DivergenceWatch();
  for (const [i, found] of bytes.entries()) watch.observe(found, ((bytes[i - 1] ?? 20e6) / 5e6) * 1000);
  return watch;
}

t.test("a working set that is larger than the limit allows, and always dirty, diverges", async (t) => {
  const figures = watched(4e6, 4e6, 4e6, 4e6).judge(link) as DivergenceFigures;
  t.ok(figures);
  t.equal(figures.linkBytesPerSecond, 5e6);
  t.equal(figures.dirtyBytesPerSecond, 5e6);
  const neededMs = lastDataMs(4e6, 5e6);
  t.ok(figures.neededDowntimeLimitMs > neededMs && figures.neededDowntimeLimitMs < 1.4 * neededMs);
  t.ok(lastDataMs(4e6, figures.neededBitsPerSecond / 8) < 300, "that link would do");
  t.ok(lastDataMs(4e6, figures.neededBitsPerSecond / 12) > 300, "and it is not asked for much more");
});

t.test("a guest that is faster than the link is told with its own rate", async (t) => {
  const figures = watched(2e6, 6e6, 18e6, 54e6).judge(link);
  t.equal(figures?.dirtyBytesPerSecond, 15e6);
});

t.test("it does not diverge while passes get shorter, fit the limit, or are few", async (t) => {
  t.equal(watched(16e6, 8e6, 4e6, 3e6).judge(link), null);
  t.equal(watched(1e6, 1e6, 1e6, 1e6).judge(link), null, "1 MB fits into 300 ms");
  t.equal(watched(4e6, 4e6, 4e6, 1e6).judge(link), null, "one pass that fits is enough");
  t.equal(watched(4e6, 4e6, 4e6).judge(link), null);
  t.equal(new DivergenceWatch().judge(link), null);
});

t.test("the same guest converges over a faster link or with a longer limit", async (t) => {
  const watch = watched(4e6, 4e6, 4e6, 4e6);
  const { neededDowntimeLimitMs, neededBitsPerSecond } = watch.judge(link) as DivergenceFigures;
  t.equal(watch.judge({ ...link, budgetMs: neededDowntimeLimitMs }), null);
  t.equal(watch.judge({ ...link, bytesPerSecond: neededBitsPerSecond / 8 }), null);
});

t.test("what was seen before the link was lost does not count", async (t) => {
  const watch = watched(4e6, 4e6, 4e6);
  watch.forget();
  watch.observe(4e6, 800);
  t.equal(watch.judge(link), null);
});

t.test("the message has the numbers, and names options as they are written", async (t) => {
  const figures = watched(4e6, 4e6, 4e6, 4e6).judge(link) as DivergenceFigures;
  const about = { vm: "web1", what: "memory", downtimeLimitMs: 300, policy: "wait" } as const;
  const capped = divergenceEvent({ ...about, cap: 40e6 }, figures);
  t.match(capped, { event: "divergence", vm: "web1", what: "memory", policy: "wait", downtimeLimitMs: 300 });
  t.match(
    capped.message,
    /^web1 changes its memory as fast as the link carries it: 5\.0 MB\/s changed, 5\.0 MB\/s /,
  );
  t.match(capped.message, /at a downtime limit of 300 ms the leg will not converge/);
  const [, time, rate] = /--downtime-limit (\w+), or with --bandwidth ([\w.]+)$/.exec(capped.message) ?? [];
  t.ok(parseTime(time as string) >= figures.neededDowntimeLimitMs);
  t.ok(parseRate(rate as string) >= figures.neededBitsPerSecond);
  t.match(divergenceEvent({ ...about, cap: null }, figures).message, /, or over a link of \d+ Mbit\/s$/);
  const slow = { ...figures, neededDowntimeLimitMs: 12_345, neededBitsPerSecond: 640_123 };
  t.match(
    divergenceEvent({ ...about, cap: 1 }, slow).message,
    /--downtime-limit 13s, or with --bandwidth 641k$/,
  );
});

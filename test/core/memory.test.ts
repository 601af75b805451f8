import t from "tap";
import { loadCore } from "../../src/core.ts";

t.test("blocks are aligned, distinct and survive growth of the memory", async (t) => {
  const core = await loadCore();
  const first = core.allocate(100);
  core.bytes().fill(7, first, first + 100);
  const old = core.bytes();
  const large = core.allocate(64 * 1024 * 1024);
  t.equal(first % 16, 0);
  t.equal(large % 16, 0);
  t.not(core.bytes(), old, "the view was made again");
  t.ok(core.bytes().length >= large + 64 * 1024 * 1024);
  t.ok(
    core
      .bytes()
      .subarray(first, first + 100)
      .every((byte) => byte === 7),
  );
  core.raw.copy(large, first, 100);
  t.same(core.bytes().slice(large, large + 100), core.bytes().slice(first, first + 100));
});

t.test("released blocks are used again", async (t) => {
  const core = await loadCore();
  core.release(core.allocate(1 << 20));
  const size = core.bytes().length;
  for (let i = 0; i < 100; i++) core.release(core.allocate(1 << 20));
  t.equal(core.bytes().length, size);
});

t.test("memory given at the start is what blocks come from", async (t) => {
  const core = await loadCore({ initialBytes: 32 * 1024 * 1024 });
  const size = core.bytes().length;
  t.ok(size >= 32 * 1024 * 1024);
  core.allocate(29 * 1024 * 1024);
  t.equal(core.bytes().length, size);
});

t.test("pointers above 2 GiB are positive and work", async (t) => {
  const core = await loadCore();
  const blocks = [1, 2, 3].map(() => core.allocate(1000 * 1024 * 1024));
  const high = blocks.at(-1)!;
  t.ok(high > 2 ** 31 - 1024 * 1024 * 100, `${high}`);
  const end = high + 1000 * 1024 * 1024 - 4096;
  t.ok(end > 2 ** 31);
  t.equal(core.raw.isZero(end, 4096), 1);
  core.bytes()[end + 4095] = 1;
  t.equal(core.raw.isZero(end, 4096), 0);
  t.throws(() => core.allocate(1000 * 1024 * 1024 * 1.07), RangeError);
  t.throws(() => [1, 2].map(() => core.allocate(1000 * 1024 * 1024)), {
    name: "RangeError",
    message: /^Cannot allocate 1048576000 bytes: the core's memory is full$/,
  });
  t.ok(core.allocate(1000) > 0, "it still works after a refused block");
});

t.test("sizes that cannot be are refused", async (t) => {
  const core = await loadCore();
  for (const size of [-1, 1.5, Number.NaN, 2 ** 30, 2 ** 32]) t.throws(() => core.allocate(size), RangeError);
  for (const initialBytes of [-1, 0.5, 2 ** 32]) await t.rejects(loadCore({ initialBytes }), RangeError);
});

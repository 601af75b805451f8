import fc from "fast-check";
import t from "tap";
import { bindArrays } from "../../src/core/array-binding.ts";
import { loadArrayCore } from "../../src/core/arrays.ts";
import { coreWasmBytes } from "../../src/core/module.ts";
import { loadCore } from "../../src/core.ts";
import { naiveBlake3 as blake3Twin } from "../../src/verify/naive-blake3.ts";
import { noise } from "./placing.ts";
import { deltaTwin } from "./twin/delta.ts";
import { lz4DecodeTwin } from "./twin/lz4.ts";

const PAGE = 4096;
const arrays = await loadArrayCore();
const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;

t.test("arrays are compressed and come back", async (t) => {
  fc.assert(
    fc.property(fc.nat(5000), fc.nat(), fc.integer({ min: 1, max: 256 }), (length, seed, values) => {
      const input = noise(length, seed, values);
      const block = arrays.compress(input);
      const twin = lz4DecodeTwin(block, length);
      return twin !== null && same(twin, input) && same(arrays.decompress(block, length), input);
    }),
  );
  t.pass();
});

t.test("pages are diffed as the twin does and diffs make the page again", async (t) => {
  fc.assert(
    fc.property(fc.nat(), fc.array(fc.nat(PAGE - 1), { maxLength: 300 }), (seed, changes) => {
      const base = noise(PAGE, seed, 9);
      const page = base.slice();
      for (const at of changes) page[at]! ^= 0x41;
      const { masks, literals } = deltaTwin(page, base);
      const diff = arrays.diffPages(page, base);
      return same(diff, Buffer.concat([masks, literals])) && same(arrays.applyDiff(base, diff), page);
    }),
  );
  t.same(arrays.applyDiff(noise(PAGE, 1), arrays.diffPages(noise(PAGE, 2), noise(PAGE, 1))), noise(PAGE, 2));
});

t.test("digests are those of the twin", async (t) => {
  const key = noise(32, 3);
  t.same(arrays.pageDigest(noise(PAGE, 4), key), blake3Twin(noise(PAGE, 4), key, 16));
  t.same(arrays.blake3(noise(9999, 5)), blake3Twin(noise(9999, 5)));
  t.same(arrays.blake3(noise(10, 5), key, 64), blake3Twin(noise(10, 5), key, 64));
});

t.test("bitmaps are combined and counted without changing the arguments", async (t) => {
  const a = noise(101, 6);
  const b = noise(101, 7);
  const kept = a.slice();
  t.same(
    arrays.bitmapOr(a, b),
    a.map((byte, i) => byte | b[i]!),
  );
  t.same(
    arrays.bitmapAnd(a, b),
    a.map((byte, i) => byte & b[i]!),
  );
  t.same(
    arrays.bitmapAndNot(a, b),
    a.map((byte, i) => byte & ~b[i]!),
  );
  t.same(a, kept);
  t.equal(arrays.bitmapCount(Uint8Array.of(0xff, 0xff), 9), 9);
});

t.test("results stay as they are when later calls use the memory again", async (t) => {
  const results = Array.from({ length: 200 }, (_, i) => arrays.compress(noise(2000, i + 1, 4)));
  results.forEach((block, i) => {
    if (!same(arrays.decompress(block, 2000), noise(2000, i + 1, 4))) t.fail(`result ${i}`);
  });
});

t.test("memory is given back: calls whose arrays add up to more than 4 GiB", async (t) => {
  const input = new Uint8Array(8 << 20);
  for (let i = 0; i < 300; i++) {
    if (arrays.compress(input).length === 0) t.fail("empty");
  }
  t.pass();
});

t.test("memory is given back when calls trap", async (t) => {
  type Trapping = { arrayDecompress(block: Uint8Array, length: number): Uint8Array };
  const bound = await bindArrays<Trapping>(coreWasmBytes());
  const input = new Uint8Array(16 << 20);
  for (let i = 0; i < 300; i++) {
    t.throws(() => bound.arrayDecompress(input, -1), WebAssembly.RuntimeError);
  }
  t.throws(
    () => bound.arrayDecompress(Uint8Array.of(0), 2 ** 30),
    WebAssembly.RuntimeError,
    "no such large array",
  );
  t.same(bound.arrayDecompress(arrays.compress(noise(100, 1)), 100), noise(100, 1), "it still works");
});

t.test("bad blocks and diffs throw FormatError and the next call works", async (t) => {
  const block = arrays.compress(noise(500, 9, 3));
  t.throws(() => arrays.decompress(block.subarray(0, 10), 500), { name: "FormatError", code: "truncated" });
  t.throws(() => arrays.decompress(block, 499), { name: "FormatError", code: "bad-length" });
  t.same(arrays.decompress(block, 500), noise(500, 9, 3));
  const base = noise(PAGE, 10);
  const diff = arrays.diffPages(noise(PAGE, 11), base);
  for (const length of [1, 7, 8, 40, 72, 80, diff.length - 1]) {
    t.throws(() => arrays.applyDiff(base, diff.subarray(0, length)), {
      name: "FormatError",
      code: "truncated",
    });
  }
  t.throws(() => arrays.applyDiff(base, new Uint8Array(100)), { name: "FormatError", code: "bad-value" });
  t.same(arrays.applyDiff(base, new Uint8Array(0)), base, "the empty diff changes nothing");
});

t.test("wrong lengths are the caller's mistake", async (t) => {
  const page = new Uint8Array(PAGE);
  const short = new Uint8Array(PAGE - 1);
  t.throws(() => arrays.pageDigest(short, new Uint8Array(32)), RangeError);
  t.throws(() => arrays.pageDigest(page, new Uint8Array(31)), RangeError);
  t.throws(() => arrays.diffPages(page, short), RangeError);
  t.throws(() => arrays.applyDiff(short, page), RangeError);
  t.throws(() => arrays.decompress(page, -1), RangeError);
  t.throws(() => arrays.decompress(page, 2 ** 31), RangeError);
  t.throws(() => arrays.bitmapOr(page, short), RangeError);
  t.throws(() => arrays.bitmapCount(Uint8Array.of(1), 9), RangeError);
  t.throws(() => arrays.blake3(page, undefined, 65), RangeError);
});

t.test("the core's own LZ4 over arrays agrees", async (t) => {
  const core = await loadCore();
  const input = noise(3000, 12, 4);
  const block = core.lz4Compress(input);
  t.same(block, arrays.compress(input));
  t.same(core.lz4Decompress(block!, 3000), input);
  t.equal(core.lz4Compress(noise(3000, 13)), null, "what does not get smaller is not compressed");
  t.equal(core.lz4Compress(new Uint8Array(1)), null);
  t.throws(() => core.lz4Decompress(block!.subarray(1), 3000), { name: "FormatError" });
});

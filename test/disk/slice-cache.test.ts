import t from "tap";
import { SliceCache } from "../../src/disk/slice-cache.ts";
import { MemorySource } from "./memory-source.ts";

const SLICE = 1 << 16;
const CAPACITY = 64;

function cacheOver(sizeBytes: number) {
  const bytes = new Uint8Array(sizeBytes);
  for (let i = 0; i < bytes.length; i++) bytes[i] = Math.floor(i / SLICE) + 1;
  const source = new MemorySource(bytes);
  return { source, cache: new SliceCache(source, SLICE) };
}

t.test("slices that were used last stay in memory, others are read again", async (t) => {
  const { source, cache } = cacheOver(100 * SLICE);
  for (let i = 0; i < CAPACITY; i++) t.equal(cache.slice(i * SLICE)[0], i + 1);
  for (let i = 0; i < CAPACITY; i++) t.equal(cache.slice(i * SLICE)[0], i + 1);
  t.equal(source.reads, CAPACITY);
  cache.slice(0);
  t.equal(cache.slice(CAPACITY * SLICE)[0], CAPACITY + 1);
  t.equal(cache.slice(0)[0], 1, "was used after the others");
  t.equal(source.reads, CAPACITY + 1);
  t.equal(cache.slice(SLICE)[0], 2, "was not used for longest");
  t.equal(source.reads, CAPACITY + 2);
});

t.test("memory does not grow: buffers of forgotten slices are used again", async (t) => {
  const { cache } = cacheOver(100 * SLICE);
  const buffers = new Set<Uint8Array>();
  for (let round = 0; round < 3; round++) {
    for (let i = 0; i < 100; i++) buffers.add(cache.slice(i * SLICE));
  }
  t.equal(buffers.size, CAPACITY);
});

t.test("the last slice has zeroes beyond the end, also in a buffer that was used before", async (t) => {
  const { cache } = cacheOver(100 * SLICE - 5);
  for (let i = 0; i < 100; i++) cache.slice(i * SLICE);
  const last = cache.slice(99 * SLICE);
  t.strictSame([...last.subarray(-6)], [100, 0, 0, 0, 0, 0]);
});

t.test("a slice beyond the end is truncated, and the cache goes on", async (t) => {
  const { cache } = cacheOver(SLICE);
  t.throws(() => cache.slice(SLICE), { name: "FormatError", code: "truncated", offset: SLICE });
  t.equal(cache.slice(0)[0], 1);
});

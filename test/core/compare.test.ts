import t from "tap";
import { loadCore } from "../../src/core.ts";
import { noise, place } from "./placing.ts";
import { readOwnMemoryTwice } from "./real-memory.ts";

const PAGE = 4096;
const core = await loadCore();

t.test("isZero sees one set bit anywhere, at any length and alignment", async (t) => {
  for (const length of [0, 1, 7, 8, 9, 63, 64, 65, 200]) {
    for (const skew of [0, 1, 8]) {
      const area = place(core, length, skew);
      t.equal(core.raw.isZero(area.pointer, length), 1, `${length} zero bytes`);
      for (let i = 0; i < length; i++) {
        core.bytes()[area.pointer + i] = 1 << (i & 7);
        if (core.raw.isZero(area.pointer, length) !== 0) t.fail(`byte ${i} of ${length} was not seen`);
        core.bytes()[area.pointer + i] = 0;
      }
      area.release();
    }
  }
});

t.test("pagesEqual sees one different bit at each byte of a page", async (t) => {
  const content = noise(PAGE, 1);
  const a = place(core, content);
  const b = place(core, content, 8);
  t.equal(core.raw.pagesEqual(a.pointer, b.pointer), 1);
  for (let i = 0; i < PAGE; i++) {
    core.bytes()[b.pointer + i]! ^= 1 << (i & 7);
    if (core.raw.pagesEqual(a.pointer, b.pointer) !== 0) t.fail(`byte ${i} was not seen`);
    core.bytes()[b.pointer + i]! ^= 1 << (i & 7);
  }
});

t.test("pagesDiffer marks and counts just the pages that differ, for any number of pages", async (t) => {
  const content = noise(19 * PAGE, 2);
  const a = place(core, content);
  const b = place(core, content, 8);
  for (let count = 0; count <= 19; count++) {
    for (const differing of [
      [],
      [0],
      [count - 1],
      [3, 7, 8, 15],
      Array.from({ length: count }, (_, i) => i),
    ]) {
      const pages = differing.filter((page) => page >= 0 && page < count);
      const bitmap = place(core, new Uint8Array(Math.ceil(count / 8)).fill(0x5a), 3);
      for (const page of pages) core.bytes()[b.pointer + page * PAGE + ((page * 911) % PAGE)]! ^= 4;
      const found = core.raw.pagesDiffer(a.pointer, b.pointer, count, bitmap.pointer);
      for (const page of pages) core.bytes()[b.pointer + page * PAGE + ((page * 911) % PAGE)]! ^= 4;
      const expected = new Uint8Array(Math.ceil(count / 8));
      for (const page of pages) expected[page >> 3]! |= 1 << (page & 7);
      t.equal(found, pages.length);
      t.same(bitmap.bytes(), expected, `pages ${pages} of ${count}`);
      t.ok(bitmap.intact());
      bitmap.release();
    }
  }
  t.ok(a.intact() && b.intact());
});

t.test("real pages compare as their bytes do", async (t) => {
  const { before, after } = readOwnMemoryTwice(512);
  const a = place(core, before);
  const b = place(core, after);
  const seen = { equal: 0, different: 0, zero: 0 };
  for (let at = 0; at < before.length; at += PAGE) {
    const old = before.subarray(at, at + PAGE);
    const equal = old.every((byte, i) => byte === after[at + i]);
    const zero = old.every((byte) => byte === 0);
    if (core.raw.pagesEqual(a.pointer + at, b.pointer + at) !== Number(equal)) t.fail(`page at ${at}`);
    if (core.raw.isZero(a.pointer + at, PAGE) !== Number(zero)) t.fail(`zero page at ${at}`);
    seen[equal ? "equal" : "different"]++;
    if (zero) seen.zero++;
  }
  t.comment(seen);
  t.ok(seen.equal > 0 && seen.different > 0, "the sample has pages of both kinds");
});

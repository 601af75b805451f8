import fc from "fast-check";
import t from "tap";
import { CoreCode, loadCore } from "../../src/core.ts";
import { noise, place } from "./placing.ts";
import { readOwnMemoryTwice } from "./real-memory.ts";
import { deltaTwin, type TwinDelta } from "./twin/delta.ts";

const PAGE = 4096;
const MASKS_MAX = 72;
const core = await loadCore();
const { raw } = core;

const masksOut = place(core, MASKS_MAX);
const literalsOut = place(core, PAGE);

function encode(page: Uint8Array, base: Uint8Array): TwinDelta {
  const a = place(core, page);
  const b = place(core, base, 8);
  const sizes = raw.deltaEncode(a.pointer, b.pointer, masksOut.pointer, literalsOut.pointer);
  a.release();
  b.release();
  return {
    masks: masksOut.bytes().subarray(0, sizes & 0xff),
    literals: literalsOut.bytes().subarray(0, (sizes >> 8) * 8),
    words: sizes >> 8,
  };
}

/** Applies and returns the result of the kernel and the page. */
function apply(
  base: Uint8Array,
  masks: Uint8Array,
  literals: Uint8Array,
): { result: number; page: Uint8Array } {
  const page = place(core, base);
  const m = place(core, masks);
  const l = place(core, literals, 3);
  const result = raw.deltaApply(page.pointer, m.pointer, masks.length, l.pointer, literals.length);
  const intact = page.intact();
  const outcome = { result: intact ? result : Number.NaN, page: page.bytes() };
  for (const area of [page, m, l]) area.release();
  return outcome;
}

function agrees(page: Uint8Array, base: Uint8Array): boolean {
  const twin = deltaTwin(page, base);
  const delta = encode(page, base);
  if (Buffer.compare(delta.masks, twin.masks) !== 0) return false;
  if (Buffer.compare(delta.literals, twin.literals) !== 0) return false;
  if (delta.words === 0) return true;
  const applied = apply(base, delta.masks, delta.literals);
  const again = apply(applied.page, delta.masks, delta.literals);
  return (
    applied.result === (delta.masks.length | (delta.words << 8)) &&
    Buffer.compare(applied.page, page) === 0 &&
    Buffer.compare(again.page, page) === 0
  );
}

t.test("equal pages give no delta and write nothing", async (t) => {
  const page = noise(PAGE, 3);
  core.bytes().fill(9, masksOut.pointer, masksOut.pointer + MASKS_MAX);
  t.equal(encode(page, page).words, 0);
  t.ok(masksOut.bytes().every((byte) => byte === 9));
});

t.test("each single changed byte gives one word in its group", async (t) => {
  const base = noise(PAGE, 4);
  for (let i = 0; i < PAGE; i += 7) {
    const page = base.slice();
    page[i]! ^= 0x80;
    if (!agrees(page, base)) t.fail(`byte ${i}`);
  }
});

t.test("any changes agree with the twin, and applying twice is harmless", async (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(PAGE - 1), fc.nat(255)), { maxLength: 600 }),
      fc.nat(),
      (changes, seed) => {
        const base = noise(PAGE, seed, 3);
        const page = base.slice();
        for (const [at, value] of changes) page[at] = value;
        return agrees(page, base);
      },
    ),
  );
  t.ok(agrees(noise(PAGE, 5), noise(PAGE, 6)), "all words changed");
  t.ok(masksOut.intact() && literalsOut.intact());
});

t.test("real pages at two times agree with the twin", async (t) => {
  const { before, after } = readOwnMemoryTwice(512);
  let changed = 0;
  for (let at = 0; at < before.length; at += PAGE) {
    const base = before.subarray(at, at + PAGE);
    const page = after.subarray(at, at + PAGE);
    if (!agrees(page, base)) t.fail(`page at ${at}`);
    if (Buffer.compare(page, base) !== 0) changed++;
  }
  t.comment(`${changed} of ${before.length / PAGE} pages changed`);
  t.ok(changed > 0);
});

t.test("what follows the masks and literals of one page is left alone", async (t) => {
  const base = noise(PAGE, 7);
  const page = base.slice();
  page.fill(0, 100, 200);
  const delta = encode(page, base);
  const masks = Uint8Array.from([...delta.masks, 1, 2, 3]);
  const literals = Uint8Array.from([...delta.literals, 4, 5, 6, 7, 8, 9, 10, 11]);
  const applied = apply(base, masks, literals);
  t.equal(applied.result, delta.masks.length | (delta.words << 8));
  t.same(applied.page, page);
});

t.test("a delta cut at each offset is refused and the page stays as it was", async (t) => {
  const base = noise(PAGE, 8);
  const page = noise(PAGE, 9);
  page.set(base.subarray(0, 1000), 2000);
  const { masks, literals } = encode(page, base);
  for (let length = 0; length < masks.length; length++) {
    const applied = apply(base, masks.subarray(0, length), literals);
    t.equal(applied.result, CoreCode.truncated, `masks cut to ${length}`);
    t.equal(Buffer.compare(applied.page, base), 0);
  }
  for (let length = 0; length < literals.length; length += 37) {
    const applied = apply(base, masks, literals.subarray(0, length));
    if (applied.result !== CoreCode.truncated) t.fail(`literals cut to ${length}`);
    if (Buffer.compare(applied.page, base) !== 0) t.fail(`page changed by literals cut to ${length}`);
  }
});

t.test("zero masks are refused", async (t) => {
  const base = noise(PAGE, 10);
  t.equal(apply(base, new Uint8Array(72), new Uint8Array(PAGE)).result, CoreCode.zeroMask);
  const masks = new Uint8Array(10);
  masks[0] = 3;
  masks[8] = 1;
  const applied = apply(base, masks, new Uint8Array(PAGE));
  t.equal(applied.result, CoreCode.zeroMask, "the second group mask is zero");
  t.same(applied.page, base);
});

t.test("random bytes never write outside the page", async (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), fc.uint8Array({ maxLength: 400 }), (masks, literals) => {
      const base = new Uint8Array(PAGE);
      const { result, page } = apply(base, masks, literals);
      if (Number.isNaN(result)) return false;
      return result >= 0 || page.every((byte) => byte === 0);
    }),
    { numRuns: 500 },
  );
  t.pass();
});

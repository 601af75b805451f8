import fc from "fast-check";
import t from "tap";
import { MovedIndex } from "../../src/delta/moved-index.ts";

const zero = new Uint8Array(16).fill(9);

t.test("a content that the base has is found at one of its pages, another is not, zero never", async () => {
  // Few different bytes make digests collide in the table.
  const anyDigest = fc.tuple(fc.nat(2), fc.nat(2), fc.nat(1)).map(([a, b, c]) => {
    const digest = new Uint8Array(16).fill(a);
    digest[2] = b;
    digest[15] = c;
    return a === 2 ? zero : digest;
  });
  fc.assert(
    fc.property(fc.array(anyDigest, { maxLength: 80 }), fc.array(anyDigest), (base, wanted) => {
      const index = new MovedIndex(new Uint8Array(Buffer.concat(base)), zero);
      return [...wanted, ...base].every((digest) => {
        const found = index.find(digest, 0);
        const isThere = digest !== zero && base.some((other) => Buffer.compare(other, digest) === 0);
        return isThere ? found >= 0 && Buffer.compare(base[found], digest) === 0 : found === -1;
      });
    }),
  );
});

t.test("a table of equal pages answers with the first of them", async (t) => {
  const digest = new Uint8Array(16).fill(1);
  const index = new MovedIndex(new Uint8Array(Buffer.concat(new Array<Uint8Array>(1000).fill(digest))), zero);
  t.equal(index.find(digest, 0), 0);
  t.equal(index.find(Uint8Array.of(0, 0, ...digest), 2), 0, "at any offset of the bytes asked for");
  t.equal(index.baseDigests.length, 16_000);
});

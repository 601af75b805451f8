import fc from "fast-check";
import t from "tap";
import { SparseBits } from "../../src/delta/sparse-bits.ts";

/** Where chunks begin and end, and far away. */
const anyBit = fc.oneof(
  fc.nat(70_000),
  fc.constantFrom(0, 7, 8, 32_767, 32_768, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1),
  fc.integer({ min: 0, max: 2 ** 32 - 1 }),
);

t.test("what was added is in it and nothing else, as in a set", async () => {
  fc.assert(
    fc.property(fc.array(anyBit), fc.array(anyBit), (added, asked) => {
      const bits = new SparseBits();
      const twin = new Set<number>();
      for (const bit of added) {
        bits.add(bit);
        twin.add(bit);
      }
      const neighbours = added.flatMap((bit) => [bit - 1, bit, bit + 1]).filter((bit) => bit >= 0);
      return [...asked, ...neighbours].every((bit) => bits.has(bit) === twin.has(bit));
    }),
  );
});

import fc from "fast-check";
import t from "tap";
import {
  blocksOf,
  checkDisks,
  type DiskShape,
  diskDifference,
  diskLimits,
  frameExtents,
  isDiskName,
} from "../../src/generation/disks.ts";
import { placeRegions } from "../../src/generation/geometry.ts";

const geometry = placeRegions([
  { name: "pc.ram", kind: "ram", lengthBytes: 20 * 4096 },
  { name: "rom", kind: "ram", lengthBytes: 5 * 4096 },
]);
const disk = (name: string, lengthBytes = 4096): DiskShape => ({ name, lengthBytes });

t.test("a name is good for files and for QEMU alike", async (t) => {
  for (const name of ["a", "disk0", "log-1", "a-", "x".repeat(15)]) t.ok(isDiskName(name), name);
  for (const name of ["", "A", "0", "-a", "a_b", "a.b", "a/b", "..", "a\n", "a b", "é", "x".repeat(16)]) {
    t.notOk(isDiskName(name), JSON.stringify(name));
  }
});

t.test("a part of a block at the end is a block", async (t) => {
  t.strictSame([512, 4096, 4608, 8192, diskLimits.lengthBytes].map(blocksOf), [1, 1, 2, 2, 2 ** 32]);
});

t.test("disks that a leg can move pass, others are refused with their name", async (t) => {
  t.doesNotThrow(() => checkDisks([]));
  t.doesNotThrow(() => checkDisks([disk("b", 512), disk("a", diskLimits.lengthBytes)]), "in any order");
  const many = Array.from({ length: diskLimits.disks + 1 }, (_, i) => disk(`d${i}`));
  t.doesNotThrow(() => checkDisks(many.slice(1)));
  const bad: [readonly DiskShape[], RegExp][] = [
    [many, /^Cannot use disks: 33 exceed 32$/],
    [[disk("a"), disk("b"), disk("a")], /the name a occurs twice/],
    [[disk("A")], /"A" is not a name: 1 to 15 characters/],
    [[disk("y".repeat(500))], /"y{80}" is not a name/],
    [[{ lengthBytes: 512 } as DiskShape], /"undefined" is not a name/],
    ...[0, -512, 513, 512.5, 2 ** 44 + 512, Number.NaN, Number.POSITIVE_INFINITY].map(
      (length): [readonly DiskShape[], RegExp] => [[disk("a", length)], /a has .* bytes/],
    ),
    [[{ name: "a", lengthBytes: "512" } as unknown as DiskShape], /a has 512 bytes/],
  ];
  for (const [disks, message] of bad) {
    t.throws(() => checkDisks(disks), { name: "FormatError", code: "bad-value", message });
  }
});

t.test("regions of frames are those of RAM, then the disks, without gaps", async () => {
  const anyDisks = fc.array(
    fc.integer({ min: 1, max: 2 ** 35 }).map((sectors) => disk("d", sectors * 512)),
    { maxLength: 32 },
  );
  fc.assert(
    fc.property(anyDisks, (disks) => {
      const extents = frameExtents(geometry, disks);
      let next = 0;
      return (
        extents.length === geometry.regions.length + disks.length &&
        extents.every(({ firstPage, pages, isDisk }, i) => {
          const follows = firstPage === next;
          next += pages;
          const isAfterRam = i >= geometry.regions.length;
          return follows && pages > 0 && (isDisk === true) === isAfterRam;
        }) &&
        Number.isSafeInteger(next)
      );
    }),
  );
});

t.test("a difference is told by name: missing, moved, resized or too many", async (t) => {
  const here = [disk("a"), disk("b", 8192)];
  t.equal(diskDifference(here, here), null);
  t.equal(diskDifference([], []), null);
  t.equal(diskDifference(here, [disk("a")]), "disk b is missing or in another place");
  t.equal(diskDifference(here, here.toReversed()), "disk a is missing or in another place");
  t.equal(diskDifference(here, [disk("a"), disk("b", 4096)]), "disk b has 8192 bytes here and 4096 there");
  t.equal(diskDifference(here, [...here, disk("c")]), "disk c is not expected");
  t.equal(diskDifference([], here), "disk a is not expected");
});

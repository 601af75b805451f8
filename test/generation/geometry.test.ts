import t from "tap";
import { FormatError } from "../../src/errors.ts";
import {
  geometryLimits,
  placeRegions,
  plainRegions,
  type Region,
  sameGeometry,
} from "../../src/generation/geometry.ts";

const ram = (name: string, pages: number): Region => ({ name, kind: "ram", lengthBytes: pages * 4096 });

t.test("regions follow one another in one page space", async (t) => {
  const geometry = placeRegions([ram("pc.ram", 100), ram("rom", 3)]);
  t.equal(geometry.totalPages, 103);
  t.match(geometry.regions, [
    { index: 0, firstPage: 0, pages: 100 },
    { index: 1, firstPage: 100, pages: 3 },
  ]);
  t.strictSame(plainRegions(geometry), [ram("pc.ram", 100), ram("rom", 3)]);
});

t.test("regions that cannot be are refused", async (t) => {
  const bad: Region[][] = [
    [],
    [ram("", 1)],
    [ram("x".repeat(geometryLimits.nameBytes + 1), 1)],
    [ram("a", 0)],
    [ram("a", -1)],
    [ram("a", 1.5)],
    [ram("a", Number.NaN)],
    [ram("a", 1), ram("a", 1)],
    [ram("a", geometryLimits.pages), ram("b", 1)],
    Array.from({ length: geometryLimits.regions + 1 }, (_, i) => ram(`r${i}`, 1)),
  ];
  for (const regions of bad) t.throws(() => placeRegions(regions), FormatError);
  t.doesNotThrow(() => placeRegions([ram("a", geometryLimits.pages)]));
});

t.test("geometries are the same only with the same regions in the same order", async (t) => {
  const geometry = placeRegions([ram("a", 1), ram("b", 2)]);
  t.ok(sameGeometry(geometry, placeRegions([ram("a", 1), ram("b", 2)])));
  for (const other of [
    [ram("b", 2), ram("a", 1)],
    [ram("a", 1)],
    [ram("a", 1), ram("b", 3)],
    [ram("a", 1), ram("c", 2)],
  ]) {
    t.notOk(sameGeometry(geometry, placeRegions(other)));
  }
});

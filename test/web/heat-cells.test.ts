import fc from "fast-check";
import t from "tap";
import { cellAt, describeCell, heatCells, sumOf } from "../../cli/web/verify-page/heat-cells.ts";

const bitmapOf = (pages: readonly number[], length: number) => {
  const bitmap = new Uint8Array(Math.ceil(length / 8));
  for (const page of pages) bitmap[page >> 3] |= 1 << (page & 7);
  return bitmap;
};

t.test("a small region has a cell for each page, wherever it lies in the page space", async (t) => {
  const map = heatCells(
    { name: "rom", firstPage: 13, pages: 5 },
    bitmapOf([12, 13, 17, 18], 20),
    bitmapOf([14], 20),
  );
  t.equal(map.pagesPerCell, 1);
  t.strictSame([...(map.dirty ?? [])], [1, 0, 0, 0, 1]);
  t.strictSame([...map.wrong], [0, 1, 0, 0, 0]);
  t.strictSame(
    [0, 1, 2].map((cell) => describeCell(map, cell)),
    ["rom, page 0: dirty", "rom, page 1: as in the base, wrong", "rom, page 2: as in the base"],
  );
});

t.test("cells of a large region hold many pages, the last one what is left", async (t) => {
  const map = heatCells({ name: "pc.ram", firstPage: 0, pages: 5000 }, bitmapOf([4, 5, 4999], 5000), null);
  t.equal(map.pagesPerCell, 4);
  t.equal(map.wrong.length, 1250);
  t.equal(describeCell(map, 1), "pc.ram, pages 4 to 7: 2 dirty");
  const odd = heatCells({ name: "pc.ram", firstPage: 0, pages: 4097 }, bitmapOf([], 4097), null);
  t.strictSame(cellAt(odd, 1024), { first: 4096, pages: 1, dirty: 0, wrong: 0 });
});

t.test("a complete generation has no dirty pages, only wrong ones", async (t) => {
  const map = heatCells({ name: "pc.ram", firstPage: 0, pages: 3 }, null, bitmapOf([2], 3));
  t.equal(map.dirty, null);
  t.equal(describeCell(map, 2), "pc.ram, page 2: in full, wrong");
});

t.test("a region without pages has no cells", async (t) => {
  t.equal(heatCells({ name: "none", firstPage: 7, pages: 0 }, null, null).wrong.length, 0);
});

t.test("no page is counted twice or left out", async () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 20_000 }),
      fc.integer({ min: 0, max: 100 }),
      fc.uniqueArray(fc.nat(19_999)),
      (pages, firstPage, chosen) => {
        const dirty = chosen.filter((page) => page < pages);
        const bitmap = bitmapOf(
          dirty.map((page) => page + firstPage),
          firstPage + pages,
        );
        const map = heatCells({ name: "r", firstPage, pages }, bitmap, null);
        const cells = Array.from(map.wrong, (_, cell) => cellAt(map, cell));
        return (
          sumOf(map.dirty as Uint32Array) === dirty.length &&
          cells.reduce((sum, cell) => sum + cell.pages, 0) === pages &&
          cells.every((cell) => cell.pages > 0 && (cell.dirty ?? 0) <= cell.pages)
        );
      },
    ),
    { numRuns: 50 },
  );
});

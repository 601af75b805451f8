/** Divides the pages of a region into the cells of a heat map and counts what is in each. */

/** More cells than this are not drawn for a region. */
const maxCells = 2048;
/** The same for a complete generation, where only wrong pages differ from the others. */
const maxCompleteCells = 512;

/** A region's heat map. Pages count in the region. */
export interface HeatCells {
  readonly region: string;
  readonly pages: number;
  /** A power of two; the last cell may have fewer. */
  readonly pagesPerCell: number;
  /** Dirty pages of each cell; null if the generation is complete and so has no dirty pages. */
  readonly dirty: Uint32Array | null;
  /** Wrong pages of each cell. */
  readonly wrong: Uint32Array;
}

/** Bit i of byte i >> 3 stands for page i of the page space. */
type Bitmap = Uint8Array;

/** Counts set bits by cells; `firstPage` is the region's place in the page space. */
export function heatCells(
  region: { readonly name: string; readonly firstPage: number; readonly pages: number },
  dirty: Bitmap | null,
  wrong: Bitmap | null,
): HeatCells {
  const { name, firstPage, pages } = region;
  const most = dirty === null ? maxCompleteCells : maxCells;
  let pagesPerCell = 1;
  while (pages / pagesPerCell > most) pagesPerCell *= 2;
  const cells = Math.ceil(pages / pagesPerCell);
  const count = (bitmap: Bitmap | null): Uint32Array => {
    const counts = new Uint32Array(cells);
    if (bitmap !== null) {
      for (let page = 0; page < pages; page++) {
        const bit = firstPage + page;
        if (((bitmap[bit >> 3] ?? 0) >> (bit & 7)) & 1) counts[Math.floor(page / pagesPerCell)]++;
      }
    }
    return counts;
  };
  return { region: name, pages, pagesPerCell, dirty: dirty && count(dirty), wrong: count(wrong) };
}

/** First page, number of pages, and counts of one cell. */
export function cellAt(
  map: HeatCells,
  cell: number,
): { readonly first: number; readonly pages: number; readonly dirty: number | null; readonly wrong: number } {
  const first = cell * map.pagesPerCell;
  const pages = Math.min(map.pagesPerCell, map.pages - first);
  return { first, pages, dirty: map.dirty?.[cell] ?? null, wrong: map.wrong[cell] };
}

/** What a cell says to somebody who points at it. */
export function describeCell(map: HeatCells, cell: number): string {
  const { first, pages, dirty, wrong } = cellAt(map, cell);
  const range = pages === 1 ? `page ${first}` : `pages ${first} to ${first + pages - 1}`;
  const parts = [
    dirty === null ? "in full" : pages === 1 ? (dirty ? "dirty" : "as in the base") : `${dirty} dirty`,
    wrong === 0 ? null : pages === 1 ? "wrong" : `${wrong} wrong`,
  ];
  return `${map.region}, ${range}: ${parts.filter((part) => part !== null).join(", ")}`;
}

/** All dirty, or all wrong, pages of a region. */
export function sumOf(counts: Uint32Array): number {
  return counts.reduce((sum, count) => sum + count, 0);
}

/** A bitmap as a few lines of block characters: each stands for a run of pages. */

const columns = 64;
const maxRows = 4;
/** None, up to a quarter, up to half, up to three quarters, more. */
const shades = ["·", "░", "▒", "▓", "█"] as const;

/** Draws which of `pages` pages are set; fewer pages than 64 make a shorter line. */
export function drawBitmap(bitmap: Uint8Array, pages: number, firstPage = 0): string[] {
  const picture = new DirtyPicture(pages);
  for (let page = 0; page < pages; page++) {
    const bit = firstPage + page;
    if (bitmap[bit >> 3] & (1 << (bit & 7))) picture.add(page, 1);
  }
  return picture.draw();
}

/** Counts marked pages by where they lie, in constant memory. */
export class DirtyPicture {
  /** Pages that were marked; one that is marked twice counts twice. */
  count = 0;
  /** Pages that there are. */
  readonly pages: number;
  private readonly marked: Float64Array;

  constructor(pages: number) {
    this.pages = pages;
    this.marked = new Float64Array(Math.min(pages, columns * maxRows));
  }

  /** Marks `count` pages from `first` on; those beyond the last page are only counted. */
  add(first: number, count: number): void {
    this.count += count;
    if (first >= this.pages) return;
    const cells = this.marked.length;
    const end = first + count;
    for (let cell = this.cellOf(first); cell < cells; cell++) {
      const from = Math.max(first, this.start(cell));
      const to = Math.min(end, this.start(cell + 1));
      if (from >= to) break;
      this.marked[cell] += to - from;
    }
  }

  /** The picture, in lines of 64 characters. */
  draw(): string[] {
    let text = "";
    for (let cell = 0; cell < this.marked.length; cell++) {
      const share = this.marked[cell] / (this.start(cell + 1) - this.start(cell));
      text += shades[Math.min(4, Math.ceil(share * 4))];
    }
    return text.match(new RegExp(`.{1,${columns}}`, "g")) ?? [];
  }

  /** First page of a cell. */
  private start(cell: number): number {
    return Math.floor((cell * this.pages) / this.marked.length);
  }

  private cellOf(page: number): number {
    let cell = Math.floor((page * this.marked.length) / this.pages);
    while (this.start(cell + 1) <= page) cell++;
    while (this.start(cell) > page) cell--;
    return cell;
  }
}

/** A bitmap as a few lines of block characters: each stands for a run of pages. */

const columns = 64;
const maxRows = 4;
/** None, up to a quarter, up to half, up to three quarters, more. */
const shades = ["·", "░", "▒", "▓", "█"] as const;

/** Draws which of `pages` pages are set; fewer pages than 64 make a shorter line. */
export function drawBitmap(bitmap: Uint8Array, pages: number): string[] {
  const cells = Math.min(pages, columns * maxRows);
  let text = "";
  for (let cell = 0; cell < cells; cell++) {
    const from = Math.floor((cell * pages) / cells);
    const to = Math.floor(((cell + 1) * pages) / cells);
    let set = 0;
    for (let page = from; page < to; page++) if (bitmap[page >> 3] & (1 << (page & 7))) set++;
    text += shades[Math.ceil((set / (to - from)) * 4)];
  }
  return text.match(new RegExp(`.{1,${columns}}`, "g")) ?? [];
}

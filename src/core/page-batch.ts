/**
 * The core's work on many pages per call, on windows of its memory. Pages have 4096 bytes and fill their window;
 * a bitmap has bit i & 7 of byte i >> 3 for page i. All windows of one call are of the core that
 * it is given; else it throws RangeError, as it does for lengths that do not belong together.
 */
import { FormatError } from "../errors.ts";
import { checkCoreResult } from "./codes.ts";
import type { CoreMemory, Pointer } from "./kernels.ts";
import type { MemoryWindow } from "./memory-window.ts";

const PAGE_BYTES = 4096;
const DIGEST_BYTES = 16;
const KEY_BYTES = 32;
const WORD_BYTES = 8;
/** Most bytes of masks that one page's changes take: 8 for the groups, 1 for each of 64 groups. */
const MASK_BYTES_MAX = 72;

/** How much `diffPageBatch` wrote. */
export type PageBatchDiff = {
  /** Pages that differ. */
  readonly pages: number;
  /** Bytes of the masks, in the order of the pages. */
  readonly maskBytes: number;
  /** Bytes of the literals, in the order of the pages. */
  readonly literalBytes: number;
};

/**
 * Keyed BLAKE3 of each page: 16 bytes a page into `digests`. The key's window has 32 bytes.
 *
 * @example
 * const pages = openWindow(core, 256 * 4096);
 * const key = openWindow(core, 32);
 * const digests = openWindow(core, 256 * 16);
 * digestPageBatch(core, pages, key, digests);
 */
export function digestPageBatch(
  core: CoreMemory,
  pages: MemoryWindow,
  key: MemoryWindow,
  digests: MemoryWindow,
): void {
  const count = pageCount(pages);
  requireBytes("the key", key, KEY_BYTES);
  requireBytes("digests", digests, count * DIGEST_BYTES);
  core.raw.pageDigests(pointerIn(core, pages), count, pointerIn(core, key), pointerIn(core, digests));
}

/**
 * Makes `bitmap` the pages that differ from the base, and returns their number.
 *
 * @example
 * const changed = openWindow(core, 256 / 8);
 * const count = markChangedPages(core, pages, base, changed);
 */
export function markChangedPages(
  core: CoreMemory,
  pages: MemoryWindow,
  base: MemoryWindow,
  bitmap: MemoryWindow,
): number {
  const count = pageCount(pages);
  requireBytes("the base", base, pages.lengthBytes);
  requireBytes("the bitmap", bitmap, Math.ceil(count / 8));
  return core.raw.pagesDiffer(pointerIn(core, pages), pointerIn(core, base), count, pointerIn(core, bitmap));
}

/**
 * Makes `bitmap` the pages of zeroes, and returns their number.
 *
 * @example
 * const zeroes = openWindow(core, 256 / 8);
 * const count = markZeroPages(core, pages, zeroes);
 */
export function markZeroPages(core: CoreMemory, pages: MemoryWindow, bitmap: MemoryWindow): number {
  const from = pointerIn(core, pages);
  return markPages(core, pages, bitmap, (at) => core.raw.isZero(from + at, PAGE_BYTES) === 1);
}

/**
 * Writes what turns the base into the pages: a bitmap of the pages that differ, and for these, one after the other,
 * the masks of changed words and the words' new values (grammar in `docs/FORMAT.md`, Pages).
 *
 * `masks` has 72 bytes for each page of the batch, `literals` 4096: more than any change needs.
 *
 * @example
 * const masks = openWindow(core, 256 * 72);
 * const literals = openWindow(core, 256 * 4096);
 * const diff = diffPageBatch(core, pages, base, changed, masks, literals);
 */
export function diffPageBatch(
  core: CoreMemory,
  pages: MemoryWindow,
  base: MemoryWindow,
  bitmap: MemoryWindow,
  masks: MemoryWindow,
  literals: MemoryWindow,
): PageBatchDiff {
  const count = pageCount(pages);
  requireBytes("the base", base, pages.lengthBytes);
  requireBytes("masks", masks, count * MASK_BYTES_MAX);
  requireBytes("literals", literals, count * PAGE_BYTES);
  let [maskBytes, literalBytes] = [0, 0];
  const [from, against] = [pointerIn(core, pages), pointerIn(core, base)];
  const [masksAt, literalsAt] = [pointerIn(core, masks), pointerIn(core, literals)];
  const differing = markPages(core, pages, bitmap, (at) => {
    const sizes = core.raw.deltaEncode(
      from + at,
      against + at,
      masksAt + maskBytes,
      literalsAt + literalBytes,
    );
    maskBytes += sizes & 0xff;
    literalBytes += (sizes >>> 8) * WORD_BYTES;
    return sizes !== 0;
  });
  return { pages: differing, maskBytes, literalBytes };
}

/**
 * Turns the base that stands in `pages` into the pages that `diffPageBatch` saw.
 *
 * Throws FormatError if the diff is not one: pages before the bad one are changed by then.
 *
 * @example
 * applyPageBatch(core, pages, changed, masks, literals, diff);
 */
export function applyPageBatch(
  core: CoreMemory,
  pages: MemoryWindow,
  bitmap: MemoryWindow,
  masks: MemoryWindow,
  literals: MemoryWindow,
  diff: Pick<PageBatchDiff, "maskBytes" | "literalBytes">,
): void {
  const count = pageCount(pages);
  requireBytes("the bitmap", bitmap, Math.ceil(count / 8));
  requirePart("masks", masks, diff.maskBytes);
  requirePart("literals", literals, diff.literalBytes);
  let [mask, literal] = [pointerIn(core, masks), pointerIn(core, literals)];
  const [masksEnd, literalsEnd] = [mask + diff.maskBytes, literal + diff.literalBytes];
  const [from, bits] = [pointerIn(core, pages), pointerIn(core, bitmap)];
  for (
    let page = core.raw.bitmapNextSet(bits, count, 0);
    page < count;
    page = core.raw.bitmapNextSet(bits, count, page + 1)
  ) {
    const sizes = core.raw.deltaApply(
      from + page * PAGE_BYTES,
      mask,
      masksEnd - mask,
      literal,
      literalsEnd - literal,
    );
    checkCoreResult(sizes, `apply the changes of page ${page}`);
    mask += sizes & 0xff;
    literal += (sizes >>> 8) * WORD_BYTES;
  }
  if (mask !== masksEnd || literal !== literalsEnd) {
    throw new FormatError("bad-length", "Cannot apply the changes: bytes are left over");
  }
}

/**
 * Compresses each page into an LZ4 block of its own, one after the other in `out`, and returns the bytes used. Sizes
 * are 1 to 4095 for a block, 4096 for a page that does not compress and stands there as it is.
 *
 * `out` has the length of `pages`, `sizes` an element for each page.
 *
 * @example
 * const packed = openWindow(core, pages.lengthBytes);
 * const sizes = new Uint16Array(256);
 * const packedBytes = compressPageBatch(core, pages, packed, sizes);
 */
export function compressPageBatch(
  core: CoreMemory,
  pages: MemoryWindow,
  out: MemoryWindow,
  sizes: Uint16Array,
): number {
  const count = pageCount(pages);
  requireBytes("the output", out, pages.lengthBytes);
  requireSizes(sizes, count);
  const start = pointerIn(core, out);
  let [at, target] = [pointerIn(core, pages), start];
  for (let page = 0; page < count; page++, at += PAGE_BYTES) {
    const packed = core.raw.lz4Compress(at, PAGE_BYTES, target, PAGE_BYTES - 1);
    if (packed === 0) core.raw.copy(target, at, PAGE_BYTES);
    sizes[page] = packed === 0 ? PAGE_BYTES : packed;
    target += sizes[page]!;
  }
  return target - start;
}

/**
 * Fills `pages` with what `compressPageBatch` wrote.
 *
 * Throws FormatError if a block does not decode to a page, or the sizes exceed the blocks.
 *
 * @example
 * decompressPageBatch(core, packed, sizes, pages);
 */
export function decompressPageBatch(
  core: CoreMemory,
  blocks: MemoryWindow,
  sizes: Uint16Array,
  pages: MemoryWindow,
): void {
  const count = pageCount(pages);
  requireSizes(sizes, count);
  let [at, target] = [pointerIn(core, blocks), pointerIn(core, pages)];
  const end = at + blocks.lengthBytes;
  for (let page = 0; page < count; page++, target += PAGE_BYTES) {
    const size = sizes[page]!;
    if (size === 0 || size > PAGE_BYTES || size > end - at) {
      throw new FormatError("bad-length", `Cannot decompress page ${page}: a block of ${size} bytes`);
    }
    if (size === PAGE_BYTES) core.raw.copy(target, at, PAGE_BYTES);
    else checkCoreResult(core.raw.lz4Decompress(at, size, target, PAGE_BYTES), `decompress page ${page}`);
    at += size;
  }
}

/** Clears the bitmap, sets the bits of the pages that `isMarked`, and returns their number. */
function markPages(
  core: CoreMemory,
  pages: MemoryWindow,
  bitmap: MemoryWindow,
  isMarked: (at: number) => boolean,
): number {
  const count = pageCount(pages);
  requireBytes("the bitmap", bitmap, Math.ceil(count / 8));
  const bits = pointerIn(core, bitmap);
  bitmap.bytes().fill(0);
  let marked = 0;
  for (let page = 0; page < count; page++) {
    if (!isMarked(page * PAGE_BYTES)) continue;
    core.raw.bitmapSet(bits, page);
    marked++;
  }
  return marked;
}

function pageCount(pages: MemoryWindow): number {
  if (pages.lengthBytes % PAGE_BYTES === 0) return pages.lengthBytes / PAGE_BYTES;
  throw new RangeError(`Cannot use a window of ${pages.lengthBytes} bytes: it does not hold whole pages`);
}

/** Where a window begins. Throws RangeError if it is of another core. */
function pointerIn(core: CoreMemory, window: MemoryWindow): Pointer {
  const { pointer } = window;
  if (window.bytes().buffer === core.bytes().buffer) return pointer;
  throw new RangeError("Cannot use this window: it is of another core");
}

function requireBytes(what: string, window: MemoryWindow, lengthBytes: number): void {
  if (window.lengthBytes === lengthBytes) return;
  throw new RangeError(`Cannot use ${what} of ${window.lengthBytes} bytes: ${lengthBytes} expected`);
}

function requirePart(what: string, window: MemoryWindow, bytes: number): void {
  if (Number.isInteger(bytes) && bytes >= 0 && bytes <= window.lengthBytes) return;
  throw new RangeError(`Cannot use ${bytes} bytes of ${what}: the window has ${window.lengthBytes}`);
}

function requireSizes(sizes: Uint16Array, count: number): void {
  if (sizes.length === count) return;
  throw new RangeError(`Cannot use ${sizes.length} sizes: there are ${count} pages`);
}

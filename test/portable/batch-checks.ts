/** Many pages a call on windows of memory, against the same done page by page on arrays. */
import { type Api, must, mustEqual, mustHaveBytes, mustThrow, noise, type PortableCheck } from "./check.ts";
import { naiveDiff, naiveLz4 } from "./naive.ts";

const PAGE_BYTES = 4096;
const PAGES = 37;
/** Page 3 has one changed word, page 20 is new, page 36 has changes all over; page 9 is zero in both. */
const CHANGED = [3, 20, 36];

function baseAndPages(): { base: Uint8Array; pages: Uint8Array } {
  const base = noise(PAGES * PAGE_BYTES, 1, 40);
  base.fill(0, 9 * PAGE_BYTES, 10 * PAGE_BYTES);
  const pages = base.slice();
  pages[3 * PAGE_BYTES + 100]! ^= 1;
  pages.set(noise(PAGE_BYTES, 2), 20 * PAGE_BYTES);
  for (let i = 0; i < PAGE_BYTES; i += 64) pages[36 * PAGE_BYTES + i]! ^= 0x80;
  return { base, pages };
}

async function openBatch(api: Api) {
  const core = await api.loadCore();
  const contents = baseAndPages();
  const windowOf = (bytes: Uint8Array) => {
    const window = api.openWindow(core, bytes.length);
    window.bytes().set(bytes);
    return window;
  };
  return {
    core,
    contents,
    base: windowOf(contents.base),
    pages: windowOf(contents.pages),
    bitmap: api.openWindow(core, Math.ceil(PAGES / 8)),
    windowOf,
  };
}

const pageAt = (bytes: Uint8Array, page: number) =>
  bytes.subarray(page * PAGE_BYTES, (page + 1) * PAGE_BYTES);

const bitsOf = (bitmap: Uint8Array) =>
  Array.from({ length: bitmap.length * 8 }, (_, bit) => bit).filter(
    (bit) => bitmap[bit >> 3]! & (1 << (bit & 7)),
  );

export const batchChecks: readonly PortableCheck[] = [
  {
    name: "a batch of digests is that of the pages one by one",
    run: async (api) => {
      const { core, contents, pages, windowOf } = await openBatch(api);
      const [key, arrays] = [noise(32, 7), await api.loadArrayCore()];
      const digests = api.openWindow(core, PAGES * 16);
      api.digestPageBatch(core, pages, windowOf(key), digests);
      for (let page = 0; page < PAGES; page++) {
        const found = digests.bytes().subarray(page * 16, page * 16 + 16);
        mustHaveBytes(found, arrays.pageDigest(pageAt(contents.pages, page), key), `page ${page}`);
      }
    },
  },
  {
    name: "changed pages and zero pages are marked, whatever the bitmap had before",
    run: async (api) => {
      const { core, base, pages, bitmap } = await openBatch(api);
      bitmap.bytes().fill(0xff);
      mustEqual(api.markChangedPages(core, pages, base, bitmap), CHANGED.length, "changed pages");
      mustEqual(bitsOf(bitmap.bytes()), CHANGED, "bitmap of changed pages");
      mustEqual(api.markZeroPages(core, pages, bitmap), 1, "zero pages");
      mustEqual(bitsOf(bitmap.bytes()), [9], "bitmap of zero pages");
    },
  },
  {
    name: "a batch of diffs has the masks and literals of the naive twin, and makes the pages again",
    run: async (api) => {
      const { core, contents, base, pages, bitmap } = await openBatch(api);
      const masks = api.openWindow(core, PAGES * 72);
      const literals = api.openWindow(core, PAGES * PAGE_BYTES);
      const diff = api.diffPageBatch(core, pages, base, bitmap, masks, literals);
      mustEqual(diff.pages, CHANGED.length, "pages");
      mustEqual(bitsOf(bitmap.bytes()), CHANGED, "bitmap");
      const naive = CHANGED.map((page) =>
        naiveDiff(pageAt(contents.pages, page), pageAt(contents.base, page)),
      );
      const total = naive.reduce((sum, { length }) => sum + length, 0);
      mustEqual(diff.maskBytes + diff.literalBytes, total, "bytes");
      api.applyPageBatch(core, base, bitmap, masks, literals, diff);
      mustHaveBytes(base.bytes(), contents.pages, "pages");
      const short = { ...diff, literalBytes: diff.literalBytes - 8 };
      const apply = () => api.applyPageBatch(core, base, bitmap, masks, literals, short);
      mustThrow(apply, "FormatError", "literals that end early");
    },
  },
  {
    name: "a batch of LZ4 blocks decodes naively, and makes the pages again",
    run: async (api) => {
      const { core, contents, pages } = await openBatch(api);
      const packed = api.openWindow(core, PAGES * PAGE_BYTES);
      const sizes = new Uint16Array(PAGES);
      const packedBytes = api.compressPageBatch(core, pages, packed, sizes);
      must(packedBytes < PAGES * PAGE_BYTES, "it is smaller");
      mustEqual(sizes[20], PAGE_BYTES, "noise stands as it is");
      let at = 0;
      for (const [page, size] of sizes.entries()) {
        const block = packed.bytes().subarray(at, at + size);
        const plain = size === PAGE_BYTES ? block : naiveLz4(block);
        mustHaveBytes(plain, pageAt(contents.pages, page), `page ${page}`);
        at += size;
      }
      mustEqual(at, packedBytes, "bytes used");
      pages.bytes().fill(0);
      api.decompressPageBatch(core, packed, sizes, pages);
      mustHaveBytes(pages.bytes(), contents.pages, "pages");
      sizes[0] = PAGE_BYTES + 1;
      mustThrow(
        () => api.decompressPageBatch(core, packed, sizes, pages),
        "FormatError",
        "a size above a page",
      );
    },
  },
  {
    name: "windows that do not fit, of another core, or released are refused",
    run: async (api) => {
      const { core, pages, base, bitmap } = await openBatch(api);
      const small = api.openWindow(core, 1);
      mustThrow(() => api.markChangedPages(core, pages, base, small), "RangeError", "a short bitmap");
      mustThrow(
        () => api.markZeroPages(core, api.openWindow(core, 4095), small),
        "RangeError",
        "no whole page",
      );
      const other = api.openWindow(await api.loadCore(), PAGES * PAGE_BYTES);
      mustThrow(
        () => api.markChangedPages(core, pages, other, bitmap),
        "RangeError",
        "another core's window",
      );
      pages.release();
      pages.release();
      mustThrow(() => pages.bytes(), "TypeError", "bytes of a released window");
      mustThrow(() => api.markZeroPages(core, pages, bitmap), "TypeError", "a released window");
    },
  },
];

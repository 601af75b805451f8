/** How fast the core is where it runs now. */
import { type Api, noise } from "./check.ts";

const PAGE_BYTES = 4096;
const PAGES = 4096;
const RUNS = 5;

/** Bytes of pages a nanosecond, which is GB/s; the best of several runs. */
export type Speed = {
  readonly blake3Pages: number;
  readonly comparePages: number;
  readonly lz4Compress: number;
  readonly lz4Decompress: number;
};

/** Measures the core on 16 MiB of pages that compress to about half. */
export async function measureSpeed(api: Api): Promise<Speed> {
  const core = await api.loadCore({ initialBytes: 80 << 20 });
  const bytes = PAGES * PAGE_BYTES;
  const [pages, base] = [api.openWindow(core, bytes), api.openWindow(core, bytes)];
  const [packed, bitmap] = [api.openWindow(core, bytes), api.openWindow(core, PAGES / 8)];
  const [key, digests] = [api.openWindow(core, 32), api.openWindow(core, PAGES * 16)];
  pages.bytes().set(noise(bytes, 1, 12));
  base.bytes().set(pages.bytes());
  const sizes = new Uint16Array(PAGES);
  const best = (run: () => void): number => {
    let shortest = Number.POSITIVE_INFINITY;
    for (let i = 0; i < RUNS; i++) {
      const before = performance.now();
      run();
      shortest = Math.min(shortest, performance.now() - before);
    }
    return bytes / shortest / 1e6;
  };
  return {
    blake3Pages: best(() => api.digestPageBatch(core, pages, key, digests)),
    comparePages: best(() => api.markChangedPages(core, pages, base, bitmap)),
    lz4Compress: best(() => api.compressPageBatch(core, pages, packed, sizes)),
    lz4Decompress: best(() => api.decompressPageBatch(core, packed, sizes, pages)),
  };
}

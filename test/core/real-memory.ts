/** Pages of this process's own heap at two times, with work in between: what real changed pages look like. */
import { closeSync, openSync, readFileSync, readSync } from "node:fs";

const PAGE = 4096;

/** Pages at the same addresses, before and after. */
export type MemoryPair = { before: Uint8Array; after: Uint8Array };

/** Up to `pages` pages from the process's writable anonymous memory. Linux only. */
export function readOwnMemoryTwice(pages: number): MemoryPair {
  const areas = readFileSync("/proc/self/maps", "utf8")
    .split("\n")
    .flatMap((line) => {
      const match = /^([0-9a-f]+)-([0-9a-f]+) rw-p \S+ 00:00 0\s*(\[heap\])?$/.exec(line);
      if (match === null) return [];
      return [
        { start: BigInt(`0x${match[1]}`), bytes: Number(BigInt(`0x${match[2]}`) - BigInt(`0x${match[1]}`)) },
      ];
    });
  const before = readAreas(areas, pages);
  const work = Array.from({ length: 20_000 }, (_, i) => ({ index: i, text: `value ${i}` }));
  const after = readAreas(areas, pages);
  if (work.length === 0) throw new Error("The work between both readings was optimised away");
  return { before, after };
}

/** At most 64 pages of each area, so that several kinds of memory are in the sample. */
function readAreas(areas: { start: bigint; bytes: number }[], pages: number): Uint8Array {
  const memory = new Uint8Array(pages * PAGE);
  const file = openSync("/proc/self/mem", "r");
  let filled = 0;
  try {
    for (const { start, bytes } of areas) {
      const wanted = Math.min(bytes, 64 * PAGE, memory.length - filled);
      try {
        // An area that was unmapped in between stays zero in the second reading.
        readSync(file, memory, filled, wanted, start);
      } catch {}
      filled += wanted;
    }
  } finally {
    closeSync(file);
  }
  return memory;
}

/** Compares the pages of an image file with the digests of its generation. */

import { setImmediate as nextTurn } from "node:timers/promises";
import { bytesEqual } from "../../src/bytes.ts";
import type { Core } from "../../src/core.ts";
import { pageBytes } from "../../src/delta/vocabulary.ts";
import { digestBytes, type PageDigests } from "../../src/generation/digest-tree.ts";
import { type OpenFile, readFully, windowBytes } from "./file-window.ts";

/** What a page of an image is. `leftover`: it is not used here, but is neither zero nor what the generation has. */
export type PageVerdict = "good" | "wrong" | "leftover";

/** How an image is looked at. */
export interface ImageVisitor {
  /** What the pages should be. */
  readonly expected: PageDigests;
  /** Pages that this image answers for; null: all of them. */
  readonly dirty: Uint8Array | null;
  /** Gets the digest of each page that the image answers for, 16 bytes a page; null if nobody wants them. */
  readonly actual: Uint8Array | null;
  /** Called for pages that are not good, in ascending order. `page` counts over all regions. */
  readonly onPage: (page: number, verdict: Exclude<PageVerdict, "good">) => void;
  readonly onBytes: (bytes: number) => void;
}

const windowPages = windowBytes / pageBytes;
/** Windows after which other work gets a turn. */
const windowsPerTurn = 8;

/** Reads an image of exactly the geometry's length, a window at a time. Throws FormatError if it ends before. */
export async function checkImage(core: Core, file: OpenFile, visitor: ImageVisitor): Promise<void> {
  const { totalPages } = visitor.expected.geometry;
  const window = core.allocate(windowBytes);
  const digests = core.allocate(windowPages * digestBytes);
  try {
    for (let first = 0, turn = 1; first < totalPages; first += windowPages, turn++) {
      const count = Math.min(windowPages, totalPages - first);
      const length = count * pageBytes;
      readFully(file, core.bytes().subarray(window, window + length), first * pageBytes);
      digestPages(core, visitor.expected, window, count, digests);
      for (let i = 0; i < count; i++) {
        const verdict = judge(core, visitor, first + i, digests + i * digestBytes);
        if (verdict !== "good") visitor.onPage(first + i, verdict);
      }
      visitor.onBytes(length);
      if (turn % windowsPerTurn === 0) await nextTurn();
    }
  } finally {
    core.release(window);
    core.release(digests);
  }
}

/** Digests of a window's pages; those of pages of zeroes are known. */
function digestPages(core: Core, expected: PageDigests, window: number, count: number, out: number): void {
  for (let from = 0; from < count; ) {
    const isZero = core.raw.isZero(window + from * pageBytes, pageBytes) === 1;
    let to = from + 1;
    while (to < count && (core.raw.isZero(window + to * pageBytes, pageBytes) === 1) === isZero) to++;
    if (isZero) {
      for (let i = from; i < to; i++) core.bytes().set(expected.zero, out + i * digestBytes);
    } else {
      core.raw.pageDigests(
        window + from * pageBytes,
        to - from,
        expected.keyPointer,
        out + from * digestBytes,
      );
    }
    from = to;
  }
}

function judge(core: Core, visitor: ImageVisitor, page: number, digest: number): PageVerdict {
  const { expected, dirty, actual } = visitor;
  const memory = core.bytes();
  const isRight = expected.equals(page, memory, digest);
  if (dirty !== null && (dirty[page >> 3] & (1 << (page & 7))) === 0) {
    const isHole = bytesEqual(memory.subarray(digest, digest + digestBytes), expected.zero);
    return isRight || isHole ? "good" : "leftover";
  }
  actual?.set(memory.subarray(digest, digest + digestBytes), page * digestBytes);
  return isRight ? "good" : "wrong";
}

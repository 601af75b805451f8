/** Which pages of RAM differ between two generations of the same regions: by their digests, or by their contents. */

import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { join } from "node:path";
import type { Core } from "../../src/core.ts";
import { pageBytes } from "../../src/delta/vocabulary.ts";
import { digestBytes } from "../../src/generation/digest-tree.ts";
import type { Geometry } from "../../src/generation/geometry.ts";
import { OperationError } from "../errors.ts";
import { GenerationContent, type StoredGeneration } from "../store/generation-reader.ts";

/** Pages one after the other, counted within their region. */
export type OnPages = (region: number, first: number, count: number) => void;

const digestsAtOnce = 1 << 14;
const pagesAtOnce = 256;

/** Compares the files of page digests. Throws OperationError if one has the wrong length. */
export function diffDigests(
  geometry: Geometry,
  a: StoredGeneration,
  b: StoredGeneration,
  onPages: OnPages,
): void {
  const files = [a, b].map(({ directory }) => openDigests(join(directory, "digests"), geometry.totalPages));
  try {
    const windows = files.map(() => new Uint8Array(digestsAtOnce * digestBytes));
    // Four words a digest; which of them differ does not matter.
    const [left, right] = windows.map(({ buffer }) => new Uint32Array(buffer));
    for (const region of geometry.regions) {
      for (let first = 0; first < region.pages; first += digestsAtOnce) {
        const count = Math.min(digestsAtOnce, region.pages - first);
        const at = (region.firstPage + first) * digestBytes;
        for (const [i, file] of files.entries())
          readAll(file, windows[i].subarray(0, count * digestBytes), at);
        for (let i = 0; i < count; i++) {
          const word = i * 4;
          const isEqual =
            left[word] === right[word] &&
            left[word + 1] === right[word + 1] &&
            left[word + 2] === right[word + 2] &&
            left[word + 3] === right[word + 3];
          if (!isEqual) onPages(region.index, first + i, 1);
        }
      }
    }
  } finally {
    for (const { descriptor } of files) closeSync(descriptor);
  }
}

/** Compares the contents through both chains. Throws OperationError or FormatError if one cannot be read. */
export function diffContents(core: Core, a: StoredGeneration, b: StoredGeneration, onPages: OnPages): void {
  const contents: GenerationContent[] = [];
  const left = core.allocate(pagesAtOnce * pageBytes);
  const right = core.allocate(pagesAtOnce * pageBytes);
  try {
    for (const generation of [a, b]) contents.push(new GenerationContent(core, generation));
    for (const region of contents[0].geometry.regions) {
      for (let first = 0; first < region.pages; first += pagesAtOnce) {
        const count = Math.min(pagesAtOnce, region.pages - first);
        contents[0].readPages(region.firstPage + first, count, left);
        contents[1].readPages(region.firstPage + first, count, right);
        for (let i = 0; i < count; i++) {
          const at = i * pageBytes;
          if (!core.raw.pagesEqual(left + at, right + at)) onPages(region.index, first + i, 1);
        }
      }
    }
  } finally {
    for (const content of contents) content.close();
    core.release(left);
    core.release(right);
  }
}

interface DigestsFile {
  readonly descriptor: number;
  readonly path: string;
}

function openDigests(path: string, pages: number): DigestsFile {
  const descriptor = openSync(path, "r");
  const { size } = fstatSync(descriptor);
  if (size === pages * digestBytes) return { descriptor, path };
  closeSync(descriptor);
  throw new OperationError(
    "verificationFailed",
    `Cannot use ${path}: ${size} bytes, ${pages * digestBytes} expected`,
  );
}

function readAll({ descriptor, path }: DigestsFile, target: Uint8Array, at: number): void {
  for (let done = 0; done < target.length; ) {
    const got = readSync(descriptor, target, done, target.length - done, at + done);
    if (got === 0) throw new OperationError("verificationFailed", `Cannot use ${path}: it ends too early`);
    done += got;
  }
}

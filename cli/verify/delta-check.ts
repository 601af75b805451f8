/** The delta of a generation: its file, its frames, and that replaying it on its base gives the generation. */

import { join } from "node:path";
import { toHex } from "../../src/bytes.ts";
import type { Core } from "../../src/core.ts";
import type { DeltaHeader } from "../../src/delta/header-frame.ts";
import { type BasePages, PageDecoder } from "../../src/delta/page-decoder.ts";
import { frameLimits, pageBytes, recordKindNames } from "../../src/delta/vocabulary.ts";
import { FormatError } from "../../src/errors.ts";
import { digestBytes } from "../../src/generation/digest-tree.ts";
import { frameExtents } from "../../src/generation/disks.ts";
import type { Geometry } from "../../src/generation/geometry.ts";
import type { Manifest } from "../../src/generation/manifest.ts";
import {
  type GenerationContent,
  readDirtyBitmap,
  type StoredGeneration,
} from "../store/generation-reader.ts";
import { isDamage, orFinding } from "./damage.ts";
import { replayDelta } from "./delta-replay.ts";
import type { DiskReplay } from "./disk-replay.ts";
import { digestFile, withFile } from "./file-window.ts";
import type { FindingLog } from "./report.ts";

/** What a delta is replayed on. */
export interface ReplayBase {
  readonly content: GenerationContent;
  /** Digests of the base, 16 bytes a page; replaying turns them into those of the generation. */
  readonly digests: Uint8Array;
  /** Pointer to the digest key in the core's memory. */
  readonly keyPointer: number;
}

/** What came out. */
export interface DeltaResult {
  /** Pages that have a record; null if the delta does not even say that. */
  readonly dirty: Uint8Array | null;
  /** True if every frame was replayed. */
  readonly replayed: boolean;
}

/** Checks the file `delta`. Without a base only structure and checksums are checked. */
export async function checkDelta(
  core: Core,
  log: FindingLog,
  stored: StoredGeneration,
  geometry: Geometry,
  base: ReplayBase | null,
  disks: DiskReplay,
  onBytes: (bytes: number) => void,
): Promise<DeltaResult> {
  const { manifest, directory } = stored;
  const { generation } = manifest;
  const path = join(directory, "delta");
  const ram = base === null ? zeroPages(core) : contentPages(base.content);
  const extents = frameExtents(geometry, manifest.disks);
  const firstDisk = geometry.regions.length;
  const decoder = new PageDecoder(core, extents, {
    readBasePage: (page, target) => {
      const region = extents.findLastIndex(({ firstPage }) => firstPage <= page);
      if (region < firstDisk) ram.readBasePage(page, target);
      else disks.readBase(region - firstDisk, page - extents[region].firstPage, target);
    },
  });
  const newDigests = core.allocate(frameLimits.records * digestBytes);
  try {
    const replayed = await orFinding(log, { path, generation }, () =>
      withFile(path, async (file) => {
        if (toHex(digestFile(core, file)) !== manifest.files.delta?.digest) {
          log.add({ path, generation, problem: "the file does not have the digest that the manifest names" });
        }
        return await replayDelta(core, file, {
          decoder,
          firstPageOf: (region) => geometry.regions[region]?.firstPage,
          onHeader: (header) => checkHeader(header, manifest, geometry),
          onPages: (decoded) => {
            const { region, count, pages, contents } = decoded;
            if (base === null) return;
            core.raw.pageDigests(contents, count, base.keyPointer, newDigests);
            if (region >= firstDisk) {
              disks.take(region - firstDisk, decoded, newDigests);
              return;
            }
            const memory = core.bytes();
            for (let i = 0; i < count; i++) {
              const from = newDigests + i * digestBytes;
              const page = geometry.regions[region].firstPage + pages[i];
              base.digests.set(memory.subarray(from, from + digestBytes), page * digestBytes);
            }
          },
          onBytes,
        });
      }),
    );
    if (replayed === null) return { dirty: rescueBitmap(core, stored, geometry), replayed: false };
    disks.report(path, generation);
    const { trailer } = replayed;
    for (const name of recordKindNames) {
      if (trailer.records[name] === manifest.records[name]) continue;
      const problem = `the manifest counts ${manifest.records[name]} records of kind ${name}, the delta ${trailer.records[name]}`;
      log.add({ path: join(directory, "manifest.json"), generation, problem });
    }
    return { dirty: trailer.dirty, replayed: true };
  } finally {
    decoder.release();
    core.release(newDigests);
  }
}

/** A base of zeroes: enough to check the structure of frames. */
export function zeroPages(core: Core): BasePages {
  return { readBasePage: (_page, target) => void core.bytes().fill(0, target, target + pageBytes) };
}

function contentPages(content: GenerationContent): BasePages {
  return { readBasePage: (page, target) => content.readPages(page, 1, target) };
}

function checkHeader(header: DeltaHeader, manifest: Manifest, geometry: Geometry): void {
  const fail = (what: string): never => {
    throw new FormatError("mismatch", `Cannot accept the delta: ${what}`);
  };
  const base = manifest.base ?? fail("the manifest names no base");
  if (header.vm !== manifest.vm) fail(`it is of VM ${JSON.stringify(header.vm)}`);
  if (header.generation !== manifest.generation) fail(`it is of generation ${header.generation}`);
  if (header.base.generation !== base.generation) fail(`it stands on generation ${header.base.generation}`);
  if (header.base.root !== base.root) fail("it stands on a generation with another root");
  if (header.totalPages !== geometry.totalPages) {
    fail(`it is for ${header.totalPages} pages, the manifest has ${geometry.totalPages}`);
  }
}

/** The bitmap from the trailer alone, when a frame before it is damaged. */
function rescueBitmap(core: Core, stored: StoredGeneration, geometry: Geometry): Uint8Array | null {
  try {
    return readDirtyBitmap(core, stored, geometry);
  } catch (error) {
    if (!isDamage(error)) throw error;
    return null;
  }
}

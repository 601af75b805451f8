/** The delta of a generation: its file, its frames, and that replaying it on its base gives the generation. */

import { toHex } from "../bytes.ts";
import type { Core } from "../core.ts";
import { type DeltaHeader, decodeDeltaTrailer } from "../delta/header-frame.ts";
import { FrameKind, frameLimits, recordKindNames } from "../delta/vocabulary.ts";
import { FormatError } from "../errors.ts";
import { digestBytes } from "../generation/digest-tree.ts";
import { frameExtents } from "../generation/disks.ts";
import type { Geometry } from "../generation/geometry.ts";
import type { Manifest } from "../generation/manifest.ts";
import { BaseDecoder } from "./base-decoder.ts";
import type { ChainContent } from "./chain-content.ts";
import type { CheckContext } from "./checked-generation.ts";
import { CrossCheck } from "./cross-check.ts";
import { isDamage, orFinding } from "./damage.ts";
import { replayDelta } from "./delta-replay.ts";
import type { DiskReplay } from "./disk-checks.ts";
import { type GenerationFiles, pathIn, withInput } from "./generation-files.ts";
import { framesOfInput } from "./input-frames.ts";
import type { ReplayedDigests } from "./replayed-digests.ts";

/** The delta of a generation, and the generation that its manifest says. */
export interface DeltaFile {
  readonly files: GenerationFiles;
  readonly manifest: Manifest;
  readonly geometry: Geometry;
}

/** What a delta is replayed on. */
export interface ReplayBase {
  readonly content: ChainContent;
  /** Digests of the base; replaying turns them into those of the generation. */
  readonly digests: ReplayedDigests;
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
  context: CheckContext,
  delta: DeltaFile,
  base: ReplayBase | null,
  disks: DiskReplay,
): Promise<DeltaResult> {
  const { core, log, key, quick, onBytes, pacing } = context;
  const { files, manifest, geometry } = delta;
  const { generation } = manifest;
  const path = pathIn(files, "delta");
  const extents = frameExtents(geometry, manifest.disks);
  const firstDisk = geometry.regions.length;
  const crossCheck = context.crossCheck && !quick ? new CrossCheck(core, log, path, manifest, key) : null;
  const content = base?.content ?? null;
  const decoder = new BaseDecoder(core, { geometry, extents, content, disks, crossCheck });
  const keyPointer = core.allocate(32 + frameLimits.records * digestBytes);
  const newDigests = keyPointer + 32;
  const fileHash = core.createHasher();
  try {
    const replayed = await orFinding(log, { path, generation }, () =>
      withInput(files, "delta", async (input) => {
        const replay = await replayDelta(core, input, {
          decoder,
          onFrame: (frame) => fileHash.update(frame),
          firstPageOf: (region) => geometry.regions[region]?.firstPage,
          onHeader: (header) => checkHeader(header, manifest, geometry),
          onPages: async (decoded) => {
            const { region, count, pages, contents } = decoded;
            if (base === null) return;
            core.bytes().set(key, keyPointer);
            core.raw.pageDigests(contents, count, keyPointer, newDigests);
            if (region >= firstDisk) {
              disks.take(region - firstDisk, decoded, newDigests);
              return;
            }
            const { firstPage } = geometry.regions[region];
            const changed = Array.from({ length: count }, (_, i) => firstPage + pages[i]);
            const digests = core.bytes().slice(newDigests, newDigests + count * digestBytes);
            await base.digests.take(changed, digests);
          },
          onBytes: async (bytes) => {
            onBytes(bytes);
            await pacing.turn();
          },
        });
        // Of a file that is no run of frames that is said already, and there may be no end to its length.
        if (toHex(fileHash.digest()) !== manifest.files.delta?.digest) {
          log.add({ path, generation, problem: "the file does not have the digest that the manifest names" });
        }
        return replay;
      }),
    );
    crossCheck?.end();
    if (replayed === null) return { dirty: await rescueBitmap(core, files, geometry), replayed: false };
    disks.report(path, generation);
    const { trailer } = replayed;
    for (const name of recordKindNames) {
      if (trailer.records[name] === manifest.records[name]) continue;
      const problem = `the manifest counts ${manifest.records[name]} records of kind ${name}, the delta ${trailer.records[name]}`;
      log.add({ path: pathIn(files, "manifest.json"), generation, problem });
    }
    return { dirty: trailer.dirty, replayed: true };
  } finally {
    decoder.release();
    crossCheck?.release();
    fileHash.release();
    core.release(keyPointer);
  }
}

/** The bitmap from the trailer alone, when a frame before it is damaged; null if there is none. */
export async function rescueBitmap(
  core: Core,
  files: GenerationFiles,
  { totalPages }: Geometry,
): Promise<Uint8Array | null> {
  try {
    return await withInput(files, "delta", async (input) => {
      for await (const { header, frame } of framesOfInput(input)) {
        if (header.kind !== FrameKind.trailer) continue;
        const { dirty } = decodeDeltaTrailer(core, frame);
        return dirty.length === Math.ceil(totalPages / 8) ? dirty : null;
      }
      return null;
    });
  } catch (error) {
    if (!isDamage(error)) throw error;
    return null;
  }
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

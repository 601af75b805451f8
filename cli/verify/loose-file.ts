/** A manifest, or a file of frames, by itself: structure and checksums. */

import { basename } from "node:path";
import type { Core } from "../../src/core.ts";
import { PageDecoder, type RegionExtent } from "../../src/delta/page-decoder.ts";
import { FrameKind, frameMagic } from "../../src/delta/vocabulary.ts";
import { FormatError } from "../../src/errors.ts";
import { blocksOf, diskLimits } from "../../src/generation/disks.ts";
import { geometryLimits } from "../../src/generation/geometry.ts";
import { decodeManifest, maxManifestBytes } from "../../src/generation/manifest.ts";
import { OperationError } from "../errors.ts";
import { orFinding } from "./damage.ts";
import { zeroPages } from "./delta-check.ts";
import { type FrameDecoder, replayDelta } from "./delta-replay.ts";
import { readDeviceFrames } from "./device-check.ts";
import { framesOfFile, type OpenFile, readFully, withFile } from "./file-window.ts";
import type { FindingLog } from "./report.ts";

/** What a file is, by its first bytes or, if they are damaged, by its name. */
export type LooseKind = "manifest" | "frames";

/** Recognises a file; null if it is neither. */
function looseKindOf(path: string, file: OpenFile): LooseKind | null {
  const head = new Uint8Array(Math.min(4, file.size));
  readFully(file, head, 0);
  const name = basename(path);
  if (head.length === 4 && new DataView(head.buffer).getUint32(0, true) === frameMagic) return "frames";
  if (head[0] === 0x7b || name === "manifest.json") return "manifest";
  return name === "delta" || name === "device" ? "frames" : null;
}

/** Checks a file by itself. Throws OperationError "usage" if it is of no known kind. */
export async function checkLooseFile(core: Core, log: FindingLog, path: string): Promise<void> {
  const kind = await withFile(path, (file) => looseKindOf(path, file));
  if (kind === null) {
    throw new OperationError(
      "usage",
      `Cannot verify ${path}: by itself only a manifest, a delta or a device file can be; name its generation's folder`,
    );
  }
  await orFinding(log, { path }, () =>
    withFile(path, async (file) => {
      if (kind === "manifest") checkManifestFile(core, file);
      else await checkFrames(core, file);
    }),
  );
}

function checkManifestFile(core: Core, file: OpenFile): void {
  if (file.size > maxManifestBytes)
    throw new FormatError("bad-length", `it has ${file.size} bytes, too many`);
  const bytes = new Uint8Array(file.size);
  readFully(file, bytes, 0);
  decodeManifest(core, bytes);
}

async function checkFrames(core: Core, file: OpenFile): Promise<void> {
  const first = framesOfFile(file).next();
  if (first.done) throw new FormatError("truncated", "it is empty");
  if (first.value.header.kind === FrameKind.device) {
    readDeviceFrames(core, file);
    return;
  }
  const made: PageDecoder[] = [];
  try {
    const make = (extents: readonly RegionExtent[]) => {
      made.push(new PageDecoder(core, extents, zeroPages(core)));
      return made[made.length - 1];
    };
    await replayDelta(core, file, { decoder: (header) => anyDecoder(make, header.totalPages) });
  } finally {
    for (const decoder of made) decoder.release();
  }
}

/**
 * A delta alone does not say how its pages divide into regions, nor which of them are disks: each region may be as long
 * as all together, and a frame that does not fit so may be one of the longest disk there can be.
 */
function anyDecoder(make: (extents: readonly RegionExtent[]) => PageDecoder, pages: number): FrameDecoder {
  if (pages < 1 || pages > geometryLimits.pages) {
    throw new FormatError("bad-value", `Cannot accept the delta: it is for ${pages} pages`);
  }
  const length = geometryLimits.regions + diskLimits.disks;
  const asRam = make(Array.from({ length }, () => ({ firstPage: 0, pages })));
  const disk: RegionExtent = { firstPage: pages, pages: blocksOf(diskLimits.lengthBytes), isDisk: true };
  const asDisk = make([{ firstPage: 0, pages }, ...Array.from({ length: length - 1 }, () => disk)]);
  return {
    decode: (frame) => {
      try {
        return asRam.decode(frame);
      } catch (error) {
        if (!(error instanceof FormatError) || error.code === "bad-checksum") throw error;
        return asDisk.decode(frame);
      }
    },
  };
}

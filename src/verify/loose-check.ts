/** A manifest, or a file of frames, by itself: structure and checksums. */

import type { Core } from "../core.ts";
import { PageDecoder, type RegionExtent } from "../delta/page-decoder.ts";
import { FrameKind, frameMagic } from "../delta/vocabulary.ts";
import { FormatError } from "../errors.ts";
import { blocksOf, diskLimits } from "../generation/disks.ts";
import { geometryLimits } from "../generation/geometry.ts";
import { zeroPages } from "./base-decoder.ts";
import { orFinding } from "./damage.ts";
import { type FrameDecoder, replayDelta } from "./delta-replay.ts";
import { readDeviceFrames } from "./device-check.ts";
import { readManifestFrom } from "./generation-files.ts";
import { framesOfInput } from "./input-frames.ts";
import { type RandomAccess, readFully } from "./random-access.ts";
import type { FindingLog } from "./report.ts";

/** What a file is, by its first bytes or, if they are damaged, by its name. */
export type LooseKind = "manifest" | "frames";

/** Recognises a file by its content and its name; null if it is neither. Throws SourceError if it cannot be read. */
export async function looseKindOf(name: string, input: RandomAccess): Promise<LooseKind | null> {
  const head = new Uint8Array(Math.min(4, input.sizeBytes));
  await readFully(input, head, 0);
  if (head.length === 4 && new DataView(head.buffer).getUint32(0, true) === frameMagic) return "frames";
  if (head[0] === 0x7b || name === "manifest.json") return "manifest";
  return name === "delta" || name === "device" ? "frames" : null;
}

/** Checks a file by itself. `path` names it in findings; `onBytes` is called after each frame. */
export async function checkLoose(
  core: Core,
  log: FindingLog,
  path: string,
  kind: LooseKind,
  input: RandomAccess,
  onBytes?: (bytes: number) => void | Promise<void>,
): Promise<void> {
  await orFinding(log, { path }, async () => {
    if (kind === "manifest") await readManifestFrom(core, input);
    else await checkFrames(core, input, onBytes);
  });
}

async function checkFrames(
  core: Core,
  input: RandomAccess,
  onBytes?: (bytes: number) => void | Promise<void>,
): Promise<void> {
  const first = await framesOfInput(input).next();
  if (first.done) throw new FormatError("truncated", "it is empty");
  if (first.value.header.kind === FrameKind.device) {
    await readDeviceFrames(core, input);
    return;
  }
  const made: PageDecoder[] = [];
  try {
    const make = (extents: readonly RegionExtent[]) => {
      made.push(new PageDecoder(core, extents, zeroPages(core)));
      return made[made.length - 1];
    };
    await replayDelta(core, input, {
      decoder: (header) => anyDecoder(make, header.totalPages),
      ...(onBytes && { onBytes }),
    });
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

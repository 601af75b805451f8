/** Recognises a file by its content and explains it. */

import { lstatSync } from "node:fs";
import { basename, dirname } from "node:path";
import type { Core } from "../../src/core.ts";
import { frameMagic } from "../../src/delta/vocabulary.ts";
import { decodeManifest, isSeed, type Manifest, maxManifestBytes } from "../../src/generation/manifest.ts";
import { STREAM_MAGIC } from "../../src/qemu-stream/index.ts";
import { OperationError } from "../errors.ts";
import { readManifest } from "../store/vm-store.ts";
import { isDamage } from "../verify/damage.ts";
import { type OpenFile, readFully, withFile } from "../verify/file-window.ts";
import { type FrameLine, type FramesSummary, inspectFrames } from "./frames.ts";
import { type GenerationFileSummary, inspectGenerationFile, needsManifest } from "./generation-file.ts";
import { type ImageRecordSummary, inspectImageRecord } from "./image-record.ts";
import { inspectQemuStream, type StreamSummary } from "./qemu-stream.ts";

/** What a file turned out to be. */
export type Inspection =
  | FramesSummary
  | StreamSummary
  | GenerationFileSummary
  | ImageRecordSummary
  | { readonly kind: "manifest"; readonly bytes: number; readonly manifest: Manifest };

/**
 * Explains one file; frames are handed to `onFrame` as they come. Throws OperationError "usage" if the file is
 * nothing known, and FormatError if it is damaged.
 */
export async function inspectFile(
  core: Core,
  path: string,
  onFrame: (line: FrameLine) => void,
): Promise<Inspection> {
  return await open(path, async (file) => {
    // Before the content: a RAM image can begin with anything.
    if (needsManifest(path)) return await inspectGenerationFile(core, path, file);
    const record = await inspectImageRecord(path);
    if (record !== null) return record;
    if (file.size === 0 && basename(path) === "device") {
      const manifest = await manifestBeside(core, path);
      if (manifest && isSeed(manifest)) return inspectFrames(core, file, manifest, onFrame);
    }
    const head = new Uint8Array(Math.min(4, file.size));
    readFully(file, head, 0);
    const magic = head.length === 4 ? new DataView(head.buffer).getUint32(0, true) : 0;
    if (magic === frameMagic) return inspectFrames(core, file, await manifestBeside(core, path), onFrame);
    if (new DataView(Uint8Array.of(...head, 0, 0, 0, 0).buffer).getUint32(0) === STREAM_MAGIC) {
      return inspectQemuStream(file);
    }
    if (head[0] === 0x7b && file.size <= maxManifestBytes) {
      const bytes = new Uint8Array(file.size);
      readFully(file, bytes, 0);
      return { kind: "manifest", bytes: file.size, manifest: decodeManifest(core, bytes) };
    }
    throw new OperationError(
      "usage",
      `Cannot inspect ${path}: it is no delta, manifest or QEMU stream, no ram.img or digests with a manifest beside it, and no record or digests of a disk's image in a store`,
    );
  });
}

/** The manifest in the same folder; null if there is none that is good. */
async function manifestBeside(core: Core, path: string): Promise<Manifest | null> {
  try {
    return await readManifest(core, dirname(path));
  } catch (error) {
    if (!isDamage(error)) throw error;
    return null;
  }
}

/** Opens the file; a path that cannot be opened is wrong use, not damage. */
async function open<T>(path: string, use: (file: OpenFile) => Promise<T>): Promise<T> {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (!stat?.isFile()) {
    const cause = stat ? "it is not a regular file" : "there is no such file";
    throw new OperationError("usage", `Cannot inspect ${path}: ${cause}`);
  }
  return await withFile(path, use);
}

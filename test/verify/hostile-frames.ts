/** Makes files that are right in themselves and lie: frames with other fields, manifests that fit them. */

import { toHex } from "../../src/bytes.ts";
import type { Core } from "../../src/core.ts";
import { framesOf } from "../../src/delta/frame.ts";
import { encodeManifest, type Manifest } from "../../src/generation/manifest.ts";
import type { GenerationInput } from "../../src/verify/generation-files.ts";
import { accessBytes, type RandomAccess } from "../../src/verify/random-access.ts";

/** A copy of a frame with other bytes, and the checksum that they need. */
export function resealed(core: Core, frame: Uint8Array, change: (bytes: Uint8Array) => void): Uint8Array {
  const bytes = frame.slice();
  change(bytes);
  bytes.fill(0, 32, 48);
  bytes.set(core.blake3(bytes, undefined, 16), 32);
  return bytes;
}

/** The frames of a file, one array each. */
export function framesIn(bytes: Uint8Array): Uint8Array[] {
  return [...framesOf(bytes)].map(({ frame }) => frame);
}

/** The generation with another file, and a manifest that has its length and digest: nobody needs the key for that. */
export function withFitted(
  core: Core,
  input: GenerationInput,
  manifest: Manifest,
  name: "delta" | "device",
  bytes: Uint8Array<ArrayBuffer>,
  more: Partial<Manifest> = {},
): GenerationInput {
  const file = { bytes: bytes.length, digest: toHex(core.blake3(bytes)) };
  const fitted: Manifest = { ...manifest, ...more, files: { ...manifest.files, [name]: file } };
  return withFiles(input, {
    [name]: accessBytes(bytes),
    "manifest.json": accessBytes(encodeManifest(core, fitted)),
  });
}

/** The generation with other files. */
export function withFiles(
  { name, files }: GenerationInput,
  other: Record<string, RandomAccess>,
): GenerationInput {
  return { name, files: new Map([...files, ...Object.entries(other)]) };
}

/**
 * Tells whether a key is that of a VM, before anything is read that takes long. A generation's device state has a digest under the
 * key, and its file one without: if the second is right and the first is not, the key is another one.
 */

import { toHex } from "../../../src/bytes.ts";
import type { Core } from "../../../src/core.ts";
import { isDamage } from "../../../src/verify/damage.ts";
import { readDeviceFrames } from "../../../src/verify/device-check.ts";
import { filesOfInput, type GenerationInput, readManifestOf } from "../../../src/verify/generation-files.ts";
import { digestInput } from "../../../src/verify/input-frames.ts";

/**
 * The first of `keys` that fits one of the generations. Null if none fits one; undefined if no generation can tell, because its
 * manifest or its device state is damaged or missing.
 */
export async function fittingKey(
  core: Core,
  generations: readonly GenerationInput[],
  keys: readonly Uint8Array[],
): Promise<Uint8Array | null | undefined> {
  let couldTell = false;
  for (const generation of generations) {
    const device = await wholeDevice(core, generation);
    if (device === null) continue;
    couldTell = true;
    const key = keys.find((one) => toHex(core.blake3(device.state, one)) === device.digest);
    if (key !== undefined) return key;
  }
  return couldTell ? null : undefined;
}

/** The device state of a generation and its keyed digest; null if its files are not whole. */
async function wholeDevice(
  core: Core,
  generation: GenerationInput,
): Promise<{ readonly state: Uint8Array; readonly digest: string } | null> {
  const file = generation.files.get("device");
  if (file === undefined) return null;
  try {
    const manifest = await readManifestOf(core, filesOfInput(generation));
    const { device } = manifest.files;
    if (file.sizeBytes !== device?.bytes || toHex(await digestInput(core, file)) !== device.digest)
      return null;
    return { state: await readDeviceFrames(core, file), digest: manifest.deviceDigest };
  } catch (error) {
    if (isDamage(error)) return null;
    throw error;
  }
}

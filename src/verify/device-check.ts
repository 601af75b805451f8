/** The device state of a generation: its frames, its length, and its digest under the VM's key. */

import { toHex } from "../bytes.ts";
import type { Core } from "../core.ts";
import { DeviceAssembler } from "../delta/device-frames.ts";
import { FormatError } from "../errors.ts";
import type { Manifest } from "../generation/manifest.ts";
import { orFinding } from "./damage.ts";
import { type GenerationFiles, pathIn, withInput } from "./generation-files.ts";
import { framesOfInput } from "./input-frames.ts";
import type { RandomAccess } from "./random-access.ts";
import type { FindingLog } from "./report.ts";

/** Checks the file `device`. Returns true if it gives the device state that the manifest names. */
export async function checkDevice(
  core: Core,
  log: FindingLog,
  files: GenerationFiles,
  manifest: Manifest,
  key: Uint8Array,
): Promise<boolean> {
  const path = pathIn(files, "device");
  const { generation, deviceBytes, deviceDigest } = manifest;
  const before = log.findings.length;
  await orFinding(log, { path, generation }, () =>
    withInput(files, "device", async (input) => {
      const { state, fileDigest } = await readDeviceFile(core, input);
      if (toHex(fileDigest) !== manifest.files.device?.digest) {
        log.add({ path, generation, problem: "the file does not have the digest that the manifest names" });
      }
      if (state.length !== deviceBytes) {
        const problem = `the device state has ${state.length} bytes, ${deviceBytes} expected`;
        log.add({ path, generation, problem });
      }
      if (toHex(core.blake3(state, key)) !== deviceDigest) {
        const problem =
          "the device state does not have its digest: it was altered, or the key is another VM's";
        log.add({ path, generation, problem });
      }
    }),
  );
  return log.findings.length === before;
}

/** Reads a file of device frames once. Throws FormatError or SourceError. */
async function readDeviceFile(
  core: Core,
  input: RandomAccess,
): Promise<{ state: Uint8Array; fileDigest: Uint8Array }> {
  const hasher = core.createHasher();
  try {
    const state = await readDeviceFrames(core, input, (frame) => hasher.update(frame));
    return { state, fileDigest: hasher.digest() };
  } finally {
    hasher.release();
  }
}

/** Device state from a file of device frames; `onFrame` gets each. Throws FormatError or SourceError. */
export async function readDeviceFrames(
  core: Core,
  input: RandomAccess,
  onFrame: (frame: Uint8Array) => void = () => {},
): Promise<Uint8Array> {
  const assembler = new DeviceAssembler(core);
  let previous: number | null = null;
  for await (const { at, header, frame } of framesOfInput(input)) {
    if (previous !== null && header.sequence !== previous + 1) {
      throw new FormatError("bad-value", `Cannot use frame ${header.sequence}: ${previous + 1} is next`, at);
    }
    onFrame(frame);
    try {
      assembler.add(frame);
    } catch (error) {
      if (!(error instanceof FormatError) || error.offset !== undefined) throw error;
      throw new FormatError(error.code, error.message, at);
    }
    previous = header.sequence;
  }
  return assembler.take();
}

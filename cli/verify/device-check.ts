/** The device state of a generation: its frames, its length, and its digest under the VM's key. */

import { join } from "node:path";
import { toHex } from "../../src/bytes.ts";
import type { Core } from "../../src/core.ts";
import { DeviceAssembler } from "../../src/delta/device-frames.ts";
import { FormatError } from "../../src/errors.ts";
import type { Manifest } from "../../src/generation/manifest.ts";
import { orFinding } from "./damage.ts";
import { digestFile, framesOfFile, type OpenFile, withFile } from "./file-window.ts";
import type { FindingLog } from "./report.ts";

/** Checks the file `device`. Returns true if it gives the device state that the manifest names. */
export async function checkDevice(
  core: Core,
  log: FindingLog,
  directory: string,
  manifest: Manifest,
  key: Uint8Array,
): Promise<boolean> {
  const path = join(directory, "device");
  const { generation, deviceBytes, deviceDigest } = manifest;
  const before = log.findings.length;
  await orFinding(log, { path, generation }, () =>
    withFile(path, (file) => {
      if (toHex(digestFile(core, file)) !== manifest.files.device?.digest) {
        log.add({ path, generation, problem: "the file does not have the digest that the manifest names" });
      }
      const state = readDeviceFrames(core, file);
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

/** Device state from a file of device frames. Throws FormatError. */
export function readDeviceFrames(core: Core, file: OpenFile): Uint8Array {
  const assembler = new DeviceAssembler(core);
  let previous: number | null = null;
  for (const { at, header, frame } of framesOfFile(file)) {
    if (previous !== null && header.sequence !== previous + 1) {
      throw new FormatError("bad-value", `Cannot use frame ${header.sequence}: ${previous + 1} is next`, at);
    }
    assembler.add(frame);
    previous = header.sequence;
  }
  return assembler.take();
}

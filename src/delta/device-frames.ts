/** Device state as frames: cut into chunks, one frame each, put together again at the other side. */

import { concatBytes } from "../bytes.ts";
import type { Core } from "../core.ts";
import { FormatError } from "../errors.ts";
import { checkFrame, plainColumns, sealFrame } from "./frame.ts";
import { FrameKind, frameLimits } from "./vocabulary.ts";

/** Frames for the device state, numbered from `firstSequence`. Throws RangeError if it is too long. */
export function encodeDeviceFrames(
  core: Core,
  device: Uint8Array,
  firstSequence: number,
): Uint8Array<ArrayBuffer>[] {
  if (device.length === 0 || device.length > frameLimits.deviceBytes) {
    throw new RangeError(
      `Cannot encode device state: ${device.length} bytes, at most ${frameLimits.deviceBytes}`,
    );
  }
  const frames: Uint8Array<ArrayBuffer>[] = [];
  for (let at = 0; at < device.length; at += frameLimits.deviceChunkBytes) {
    const chunk = device.subarray(at, at + frameLimits.deviceChunkBytes);
    const sequence = firstSequence + frames.length;
    frames.push(sealFrame(core, { kind: FrameKind.device, region: 0, sequence, records: 0 }, chunk));
  }
  return frames;
}

/** Collects the chunks of device state from frames of kind device. */
export class DeviceAssembler {
  private readonly core: Core;
  private readonly chunks: Uint8Array[] = [];
  private total = 0;

  constructor(core: Core) {
    this.core = core;
  }

  /** Takes one complete frame. Throws FormatError if it is not a device frame or exceeds the limit. */
  add(frame: Uint8Array): void {
    const header = checkFrame(this.core, frame);
    if (header.kind !== FrameKind.device || header.plainBytes > frameLimits.deviceChunkBytes) {
      throw new FormatError("bad-value", `Cannot use frame ${header.sequence} as device state`);
    }
    this.total += header.plainBytes;
    if (this.total > frameLimits.deviceBytes) {
      throw new FormatError(
        "bad-length",
        `Cannot accept device state: it exceeds ${frameLimits.deviceBytes} bytes`,
      );
    }
    this.chunks.push(plainColumns(this.core, frame, header).slice());
  }

  /** All of it, in the order of the frames. */
  take(): Uint8Array {
    return concatBytes(this.chunks);
  }
}

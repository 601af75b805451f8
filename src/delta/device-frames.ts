/**
 * Device state as frames: cut into chunks, one frame each, put together again at the other side. On the WAN a chunk may
 * be told against the device state of the base; what a store keeps needs no base.
 */

import { concatBytes } from "../bytes.ts";
import type { Core } from "../core.ts";
import { FormatError } from "../errors.ts";
import { decodeBased, encodeBased } from "./based-device.ts";
import { checkFrame, plainColumns, sealFrame, writeFrame } from "./frame.ts";
import { FrameCodec, FrameKind, frameHeaderBytes, frameLimits } from "./vocabulary.ts";

/**
 * Frames for the device state, numbered from `firstSequence`. With the device state of the base, `base`, they are for a
 * receiver that has it too, where that makes them smaller. Throws RangeError if the device state is too long.
 */
export function encodeDeviceFrames(
  core: Core,
  device: Uint8Array,
  firstSequence: number,
  base: Uint8Array | null = null,
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
    const start = { kind: FrameKind.device, region: 0, sequence, records: 0 } as const;
    const frame = sealFrame(core, start, chunk);
    const based = base && encodeBased(core, base, at, chunk);
    const isSmaller = based && frameHeaderBytes + based.length < frame.length;
    frames.push(isSmaller ? writeFrame(core, start, FrameCodec.based, chunk.length, based) : frame);
  }
  return frames;
}

/** Collects the chunks of device state from frames of kind device. */
export class DeviceAssembler {
  private readonly core: Core;
  private readonly chunks: Uint8Array[] = [];
  private readonly base: Uint8Array | null;
  private total = 0;

  /** `base` is the device state of the base; null where frames must do without, as those of a store. */
  constructor(core: Core, base: Uint8Array | null = null) {
    this.core = core;
    this.base = base;
  }

  /**
   * Takes one complete frame. Throws FormatError if it is not a device frame, exceeds the limit, or needs a base that is
   * not here.
   */
  add(frame: Uint8Array): void {
    const header = checkFrame(this.core, frame);
    if (header.kind !== FrameKind.device || header.plainBytes > frameLimits.deviceChunkBytes) {
      throw new FormatError("bad-value", `Cannot use frame ${header.sequence} as device state`);
    }
    const at = this.total;
    this.total += header.plainBytes;
    if (this.total > frameLimits.deviceBytes) {
      throw new FormatError(
        "bad-length",
        `Cannot accept device state: it exceeds ${frameLimits.deviceBytes} bytes`,
      );
    }
    if (header.codec === FrameCodec.based && this.base !== null) {
      const columns = frame.subarray(frameHeaderBytes);
      this.chunks.push(decodeBased(this.core, this.base, at, columns, header.plainBytes));
    } else this.chunks.push(plainColumns(this.core, frame, header).slice());
  }

  /** All of it, in the order of the frames. */
  take(): Uint8Array {
    return concatBytes(this.chunks);
  }
}

/** Frames of which only the number and the length matter. */

import { FrameCodec, FrameKind, frameHeaderBytes, frameMagic } from "../../src/delta/vocabulary.ts";

/** A frame of pages with a header that reads, and a payload of zeroes that fits no records. */
export function frameOf(sequence: number, lengthBytes = 64): Uint8Array {
  const frame = new Uint8Array(lengthBytes);
  const view = new DataView(frame.buffer);
  view.setUint32(0, frameMagic, true);
  view.setUint8(4, FrameKind.pages);
  view.setUint8(5, FrameCodec.stored);
  view.setUint32(8, sequence, true);
  const payload = Math.min(lengthBytes - frameHeaderBytes, 1024);
  view.setUint32(12, payload, true);
  view.setUint32(16, payload, true);
  view.setUint32(20, payload, true);
  return frame;
}

/** The number in a frame's header. */
export function numberOf(frame: Uint8Array): number {
  return new DataView(frame.buffer, frame.byteOffset).getUint32(8, true);
}

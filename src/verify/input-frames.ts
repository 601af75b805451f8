/** Reads the frames of a file, and its digest, a window at a time. */

import type { Core } from "../core.ts";
import { decodeFrameHeader, type FrameHeader } from "../delta/frame.ts";
import { frameHeaderBytes } from "../delta/vocabulary.ts";
import { FormatError } from "../errors.ts";
import { type RandomAccess, readFully } from "./random-access.ts";

/** Bytes that are read at a time. */
export const windowBytes = 1 << 20;

/** A frame in a file. */
export interface InputFrame {
  readonly at: number;
  readonly header: FrameHeader;
  /** Header and payload; not yet checked beyond the header. */
  readonly frame: Uint8Array;
}

/** The frames of a file, each valid until the next one is asked for. Throws FormatError where one does not follow. */
export async function* framesOfInput(input: RandomAccess): AsyncGenerator<InputFrame> {
  const window = new ReadWindow(input);
  for (let at = 0; at < input.sizeBytes; ) {
    const left = input.sizeBytes - at;
    const header = frameHeaderAt(await window.take(at, Math.min(left, frameHeaderBytes)), at, left);
    const length = frameHeaderBytes + header.payloadBytes;
    yield { at, header, frame: await window.take(at, length) };
    at += length;
  }
}

/**
 * The header of a frame that stands at `at` in a file of which `left` bytes follow from there. Throws FormatError if
 * it is not one, or the frame does not fit.
 */
export function frameHeaderAt(head: Uint8Array, at: number, left: number): FrameHeader {
  if (left < frameHeaderBytes) {
    throw new FormatError("truncated", `Cannot read frame header: ${left} bytes are left`, at);
  }
  const header = headerAt(head, at);
  if (frameHeaderBytes + header.payloadBytes > left) {
    throw new FormatError("truncated", `Cannot read frame ${header.sequence}: it ends beyond the file`, at);
  }
  return header;
}

/** Unkeyed BLAKE3-256 of a file. */
export async function digestInput(core: Core, input: RandomAccess): Promise<Uint8Array> {
  const hasher = core.createHasher();
  try {
    const window = new Uint8Array(Math.min(windowBytes, input.sizeBytes));
    for (let at = 0; at < input.sizeBytes; at += window.length) {
      const part = window.subarray(0, Math.min(window.length, input.sizeBytes - at));
      await readFully(input, part, at);
      hasher.update(part);
    }
    return hasher.digest(32);
  } finally {
    hasher.release();
  }
}

/** Decodes a header that was read on its own; errors name its position in the file. */
function headerAt(head: Uint8Array, at: number): FrameHeader {
  try {
    return decodeFrameHeader(head);
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    throw new FormatError(error.code, error.message.replace(/ \(at byte \d+\)$/, ""), at);
  }
}

/** What was read last of a file that is read from its beginning to its end. */
class ReadWindow {
  private readonly input: RandomAccess;
  private bytes = new Uint8Array(0);
  private from = 0;
  private filled = 0;

  constructor(input: RandomAccess) {
    this.input = input;
  }

  /** Bytes of the file, valid until the next call. The caller has compared their number with the file's length. */
  async take(at: number, length: number): Promise<Uint8Array> {
    if (at < this.from || at + length > this.from + this.filled) {
      const wanted = Math.max(length, Math.min(windowBytes, this.input.sizeBytes - at));
      if (wanted > this.bytes.length) this.bytes = new Uint8Array(wanted);
      this.filled = 0;
      await readFully(this.input, this.bytes.subarray(0, wanted), at);
      this.from = at;
      this.filled = wanted;
    }
    return this.bytes.subarray(at - this.from, at - this.from + length);
  }
}

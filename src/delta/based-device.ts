/**
 * Device state against that of the base, which both sites have: most of it is the same, in the same place or near it.
 *
 *     columns  =  piece*       for each 16384 bytes of the frame's device state; the last piece may be shorter
 *     piece    =  length:u16   block
 *     block    =  as long as the piece: the piece as it is; shorter: an LZ4 block, which may refer back to the base
 *                 from 16384 bytes before the piece's place up to 32768 bytes after it
 *
 * Base and piece fill one window of at most 64 KiB: as far as LZ4 reaches back.
 */

import { ByteReader } from "../bytes.ts";
import type { Core, Pointer } from "../core.ts";
import { FormatError } from "../errors.ts";

const pieceBytes = 16384;
const beforeBytes = 16384;
const afterBytes = 32768;
const historyBytes = beforeBytes + afterBytes;
const lengthBytes = 2;

/** Columns for `chunk`, which stands at `at` in the device state; null if they are no shorter than the chunk. */
export function encodeBased(core: Core, base: Uint8Array, at: number, chunk: Uint8Array): Uint8Array | null {
  const columns = new Uint8Array(chunk.length);
  const view = new DataView(columns.buffer);
  let end = 0;
  const window = core.allocate(historyBytes + 2 * pieceBytes + historyBytes);
  const block = window + historyBytes + pieceBytes;
  try {
    for (let from = 0; from < chunk.length; from += pieceBytes) {
      const piece = chunk.subarray(from, from + pieceBytes);
      const history = setWindow(core, window, base, at + from);
      core.bytes().set(piece, window + history);
      // What this gives is not needed: LZ4 then knows the base.
      core.raw.lz4CompressLinked(window, 0, history, block, pieceBytes + historyBytes, true);
      const packed = core.raw.lz4CompressLinked(
        window,
        history,
        piece.length,
        block,
        piece.length - 1,
        history === 0,
      );
      const stored = packed > 0 ? core.bytes().subarray(block, block + packed) : piece;
      if (lengthBytes + stored.length > columns.length - end) return null;
      view.setUint16(end, stored.length, true);
      columns.set(stored, end + lengthBytes);
      end += lengthBytes + stored.length;
    }
    return end < chunk.length ? columns.subarray(0, end) : null;
  } finally {
    core.release(window);
  }
}

/** The `length` bytes at `at` in the device state. Throws FormatError. The caller has checked `length`. */
export function decodeBased(
  core: Core,
  base: Uint8Array,
  at: number,
  columns: Uint8Array,
  length: number,
): Uint8Array<ArrayBuffer> {
  const reader = new ByteReader(columns);
  const chunk = new Uint8Array(length);
  const window = core.allocate(historyBytes + 2 * pieceBytes);
  const input = window + historyBytes + pieceBytes;
  try {
    for (let from = 0; from < length; from += pieceBytes) {
      const wanted = Math.min(pieceBytes, length - from);
      const stored = reader.take(reader.u16("length of a piece"), "piece of device state");
      if (stored.length === wanted) {
        chunk.set(stored, from);
        continue;
      }
      if (stored.length > wanted) throw bad(`a piece of ${stored.length} bytes is too long`);
      const history = setWindow(core, window, base, at + from);
      core.bytes().set(stored, input);
      const got = core.raw.lz4DecompressLinked(input, stored.length, window, history, wanted);
      if (got !== wanted) throw bad("a piece does not decompress to its length");
      chunk.set(core.bytes().subarray(window + history, window + history + wanted), from);
    }
  } finally {
    core.release(window);
  }
  if (reader.remaining !== 0) throw bad("bytes are left over");
  return chunk;
}

/** Puts what a piece at `at` may refer to into the window. Returns its length. */
function setWindow(core: Core, window: Pointer, base: Uint8Array, at: number): number {
  const history = base.subarray(Math.max(0, at - beforeBytes), at + afterBytes);
  core.bytes().set(history, window);
  return history.length;
}

function bad(cause: string): FormatError {
  return new FormatError("bad-value", `Cannot read device state: ${cause}`);
}

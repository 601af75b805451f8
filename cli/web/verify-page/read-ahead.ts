/**
 * Reads Blobs that are read from their beginning to their end in large slices, and the next slice while the last one is
 * worked on: in a browser each read goes through another process, which takes milliseconds however short it is. What is
 * read elsewhere is read as it is asked for.
 *
 * Not with Blob.stream(): Chromium 156 at times never gives the next part of a large file.
 */

import { accessBlob, type RandomAccess } from "../../../src/verify/random-access.ts";

export const sliceBytes = 16 << 20;
/** Two slices for each of two files: a verifier reads a delta and the image under it by turns. */
const keptSlices = 4;
/** Shorter reads come from a slice that is there, but are no reason to read one. */
const leastBytes = 1 << 18;

interface Slice {
  readonly blob: Blob;
  readonly index: number;
  readonly bytes: Promise<Uint8Array>;
}

/** Access to a file, for those too who read it elsewhere. */
export interface BlobAccess extends RandomAccess {
  readonly blob: Blob;
}

/** The slices that are held, of all files. */
export class ReadAhead {
  /** The one that was used last comes last. */
  private slices: Slice[] = [];

  /** Access to a file. */
  access(blob: Blob): BlobAccess {
    const direct = accessBlob(blob);
    let next = 0;
    return {
      blob,
      sizeBytes: blob.size,
      read: async (target, at) => {
        const isNext = at === next;
        next = at + target.length;
        const isHeld = this.find(blob, Math.floor(at / sliceBytes)) !== undefined;
        const isAhead = isHeld ? isNext || target.length < leastBytes : isNext && target.length >= leastBytes;
        return isAhead ? await this.readSlices(blob, target, at) : await direct.read(target, at);
      },
    };
  }

  private async readSlices(blob: Blob, target: Uint8Array, at: number): Promise<number> {
    const length = Math.min(target.length, blob.size - at);
    for (let done = 0; done < length; ) {
      const index = Math.floor((at + done) / sliceBytes);
      const { bytes } = this.use(blob, index);
      if ((index + 1) * sliceBytes < blob.size) this.use(blob, index + 1);
      const from = at + done - index * sliceBytes;
      const part = (await bytes).subarray(from, from + length - done);
      if (part.length === 0) return done;
      target.set(part, done);
      done += part.length;
    }
    return Math.max(length, 0);
  }

  private use(blob: Blob, index: number): Slice {
    const slice = this.find(blob, index) ?? readSlice(blob, index);
    this.slices = [...this.slices.filter((one) => one !== slice), slice].slice(-keptSlices);
    return slice;
  }

  private find(blob: Blob, index: number): Slice | undefined {
    return this.slices.find((slice) => slice.blob === blob && slice.index === index);
  }
}

function readSlice(blob: Blob, index: number): Slice {
  const part = blob.slice(index * sliceBytes, (index + 1) * sliceBytes);
  const bytes = part.arrayBuffer().then((buffer) => new Uint8Array(buffer));
  // Who waits for it is told; a slice that nobody comes to wait for fails silently.
  bytes.catch(() => {});
  return { blob, index, bytes };
}

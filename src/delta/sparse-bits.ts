/** A set of numbers that takes memory for what is in it, not for how large they are. */

const chunkBits = 4096 * 8;

/** Bits in chunks of 4 KiB that are made when the first bit in them is set. */
export class SparseBits {
  private readonly chunks = new Map<number, Uint8Array>();

  add(bit: number): void {
    const index = Math.floor(bit / chunkBits);
    let chunk = this.chunks.get(index);
    if (chunk === undefined) {
      chunk = new Uint8Array(chunkBits / 8);
      this.chunks.set(index, chunk);
    }
    const at = bit - index * chunkBits;
    chunk[at >> 3] |= 1 << (at & 7);
  }

  has(bit: number): boolean {
    const index = Math.floor(bit / chunkBits);
    const chunk = this.chunks.get(index);
    if (chunk === undefined) return false;
    const at = bit - index * chunkBits;
    return (chunk[at >> 3] & (1 << (at & 7))) !== 0;
  }
}

/**
 * Where a standing migration stops reading. QEMU must have clearly more left to send than it can push ahead of a
 * reader that has stopped: else it ends its pass and stops the VM. What a page will take in the stream is known from
 * the generation that the VM was compared with:
 *
 *     a page that was zero       8 bytes of header, 1 byte
 *     any other                  8 bytes of header, 4096 bytes
 *
 * Small blocks (video memory, firmware) come after the main one and count as well, but hardly fill the sockets.
 */

import { readFile } from "node:fs/promises";
import { pageBytes } from "../../src/delta/vocabulary.ts";
import { digestBytes } from "../../src/generation/digest-tree.ts";

const headerBytes = 8;
/** Linux' own default of what a Unix socket buffers. */
const usualSocketBytes = 212_992;
/** What QEMU, its socket, our chunks and two seconds of trickle take is below four socket buffers. */
const socketBuffers = 16;
const leastMarginBytes = 8 << 20;

/** How much of the stream must be left, in bytes: some megabytes, more where sockets buffer more. */
export async function holdMarginBytes(): Promise<number> {
  const text = await readFile("/proc/sys/net/core/wmem_default", "utf8").catch(() => "");
  const socketBytes = Number.parseInt(text, 10) || usualSocketBytes;
  return leastMarginBytes + socketBuffers * socketBytes;
}

/**
 * The last page, over the page space, at which reading may stop with `marginBytes` of stream after it; null if all
 * memory together makes less. `digests` are 16 bytes a page of what the memory is like, `zero` that of a zero page.
 */
export function holdPage(digests: Uint8Array, zero: Uint8Array, marginBytes: number): number | null {
  let left = 0;
  for (let page = digests.length / digestBytes - 1; page >= 0; page--) {
    if (left >= marginBytes) return page;
    left += headerBytes + (isZero(digests, page * digestBytes, zero) ? 1 : pageBytes);
  }
  return null;
}

function isZero(digests: Uint8Array, at: number, zero: Uint8Array): boolean {
  for (let i = 0; i < digestBytes; i++) if (digests[at + i] !== zero[i]) return false;
  return true;
}

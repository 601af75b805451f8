/**
 * Shared memory that carries a batch of pages to a thread and what became of them back.
 *
 *     contents 4096 × pages | digests 16 × pages | pages u32 × pages | wishes u8 × pages | kinds u8 × pages
 */

import { pageBytes } from "../../src/delta/vocabulary.ts";
import { digestBytes } from "../../src/generation/digest-tree.ts";

/** Pages in a batch: 1 MiB. */
export const batchPages = 256;
const digestsAt = batchPages * pageBytes;
const pagesAt = digestsAt + batchPages * digestBytes;
const wishesAt = pagesAt + batchPages * 4;
const kindsAt = wishesAt + batchPages;
const slotBytes = kindsAt + batchPages;

/** The parts of a slot. */
export interface BatchSlot {
  readonly shared: SharedArrayBuffer;
  readonly contents: Uint8Array;
  readonly digests: Uint8Array;
  readonly pages: Uint32Array;
  readonly wishes: Uint8Array;
  readonly kinds: Uint8Array;
}

/** A slot, on new memory if none is given. */
export function openSlot(shared = new SharedArrayBuffer(slotBytes)): BatchSlot {
  return {
    shared,
    contents: new Uint8Array(shared, 0, digestsAt),
    digests: new Uint8Array(shared, digestsAt, batchPages * digestBytes),
    pages: new Uint32Array(shared, pagesAt, batchPages),
    wishes: new Uint8Array(shared, wishesAt, batchPages),
    kinds: new Uint8Array(shared, kindsAt, batchPages),
  };
}

/**
 * The demo's guest: a floppy image that boots without an operating system, fills RAM with pages that can be
 * computed again here, and dirties a working set at a known rate. What it does is in guest.s; how to talk to
 * it is in guest-console.ts.
 */

import { GUEST_CODE_HEX } from "./guest-code.ts";

/** Bytes of a page. */
const PAGE = 4096;

/** Size of a 1.44 MB floppy in bytes: QEMU and the BIOS tell the format by it. */
const FLOPPY_BYTES = 1_474_560;

/** The i440fx machine keeps RAM in one piece up to here; a guest without paging uses no more. */
const FILL_END_LIMIT = 3 * 1024 ** 3;

/** Where guest.s has its parameters, in bytes from the start of the image; 32-bit little-endian each. */
const parameterOffset = {
  seed: 8,
  fillPages: 12,
  workingPages: 16,
  dirtyPagesPerTick: 20,
  freshWords: 24,
  wordMask: 28,
} as const;

/** What the pages of a content are made of. */
const contents = {
  dense: { freshWords: 1024, wordMask: 0xffffffff },
  mixed: { freshWords: 512, wordMask: 0xf8f8f8f8 },
} as const;

/**
 * Content of filled pages. `dense` hardly compresses. `mixed` is more like what memory holds: half of a page repeats
 * the other half, which finders of repetitions see, and of each byte five bits are used, which only entropy coders see.
 */
export type GuestContent = keyof typeof contents;

/** Physical address of the tick counter, 32 bits little-endian. Its page changes at every tick. */
export const counterAddress = 0x10000;

/** Physical address of the count of pages that ticks have dirtied, 32 bits, wrapping. */
export const dirtiedAddress = counterAddress + 4;

/** Physical address of the seed that the last `w` command used; see `fillPage`. */
export const rewriteSeedAddress = counterAddress + 8;

/** Number of the first filled page: the filled area begins at 1 MiB. */
export const firstFilledPage = 256;

/** Ticks a second, as the guest programs its timer. Ticks that the host cannot deliver in time are lost. */
export const ticksPerSecond = 100;

/** Offsets in a page of the words that a tick dirties, in bytes. */
export const dirtiedWordOffsets: readonly number[] = [0x010, 0x410, 0x810, 0xc10];

/** Offset in a page of the word that the `i` command increments, in bytes. */
export const incrementedWordOffset = 0x20;

/** What the guest does after boot. */
export interface GuestOptions {
  /** RAM to fill from 1 MiB on: a multiple of 4096. Keep 1 MiB below the end of RAM free: BIOS tables lie there. */
  readonly fillBytes: number;
  /** First part of the filled area, which ticks dirty in cyclic order: a multiple of 4096. */
  readonly workingSetBytes: number;
  /** Pages of the working set dirtied at each of the 100 ticks a second. */
  readonly dirtyPagesPerTick: number;
  /** 32 bits that the content depends on. */
  readonly seed?: number;
  /** Default `dense`. */
  readonly content?: GuestContent;
}

/**
 * Makes the bootable floppy image. Throws `RangeError` when an option is not possible.
 *
 *     writeFileSync("guest.img", bootImage({ fillBytes: 2 ** 25, workingSetBytes: 2 ** 20, dirtyPagesPerTick: 4 }));
 *     // qemu-system-x86_64 -drive file=guest.img,format=raw,if=floppy,readonly=on
 */
export function bootImage(options: GuestOptions): Uint8Array {
  const fillPages = wholePages("fillBytes", options.fillBytes);
  const workingPages = wholePages("workingSetBytes", options.workingSetBytes);
  const { dirtyPagesPerTick, seed = 0, content = "dense" } = options;
  if (firstFilledPage * PAGE + options.fillBytes > FILL_END_LIMIT) {
    throw new RangeError("Cannot make the guest: fillBytes passes the end of low RAM at 3 GiB");
  }
  if (workingPages > fillPages)
    throw new RangeError("Cannot make the guest: workingSetBytes exceeds fillBytes");
  if (!Number.isInteger(dirtyPagesPerTick) || dirtyPagesPerTick < 0 || dirtyPagesPerTick > 2 ** 20) {
    throw new RangeError(`Cannot make the guest: dirtyPagesPerTick is ${dirtyPagesPerTick}`);
  }
  if (dirtyPagesPerTick > 0 && workingPages === 0) {
    throw new RangeError("Cannot make the guest: there is no working set to dirty");
  }
  const image = new Uint8Array(FLOPPY_BYTES);
  image.set(guestCode());
  const view = new DataView(image.buffer);
  view.setUint32(parameterOffset.seed, seed, true);
  view.setUint32(parameterOffset.fillPages, fillPages, true);
  view.setUint32(parameterOffset.workingPages, workingPages, true);
  view.setUint32(parameterOffset.dirtyPagesPerTick, dirtyPagesPerTick, true);
  view.setUint32(parameterOffset.freshWords, contents[content].freshWords, true);
  view.setUint32(parameterOffset.wordMask, contents[content].wordMask, true);
  return image;
}

/** The guest's machine code before its parameters are set. */
export function guestCode(): Uint8Array {
  return new Uint8Array(Buffer.from(GUEST_CODE_HEX, "hex"));
}

/**
 * The content that the guest gives a page at boot and at `f` (with its own seed) or at `w` (with the seed found
 * at `rewriteSeedAddress`): 1024 little-endian words. Twin of `fill` in guest.s.
 *
 * @param page physical address / 4096
 */
export function fillPage(page: number, seed = 0, content: GuestContent = "dense"): Uint8Array {
  const { freshWords, wordMask } = contents[content];
  const bytes = new Uint8Array(PAGE);
  const view = new DataView(bytes.buffer);
  let state = Math.imul(page, 0x9e3779b1) ^ seed;
  state ^= state >>> 15;
  state = Math.imul(state, 0x2c1b3c6d);
  state ^= state >>> 12;
  for (let offset = 0; offset < 4 * freshWords; offset += 4) {
    state = (Math.imul(state, 0x2c9277b5) + 0xac564b05) | 0;
    view.setInt32(offset, state & wordMask, true);
  }
  for (let filled = 4 * freshWords; filled < PAGE; filled *= 2) bytes.copyWithin(filled, 0, filled);
  return bytes;
}

function wholePages(name: string, bytes: number): number {
  if (!Number.isSafeInteger(bytes) || bytes < 0 || bytes % PAGE !== 0) {
    throw new RangeError(`Cannot make the guest: ${name} is ${bytes}, not a multiple of ${PAGE}`);
  }
  return bytes / PAGE;
}

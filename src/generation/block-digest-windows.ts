/**
 * Cached windows of layered digest files. A window holds what all layers together answer, and of each entry which
 * layer it comes from; so it can be written back to the newest layer without what belongs to others.
 *
 * The cache is bounded: the window to give up is found by second chance, an approximation of least recently used
 * that costs a hit one store.
 */

import {
  type DigestLevel,
  type DigestStorage,
  entriesOfWindow,
  windowBytes,
  windowEntries,
  type ZeroEntries,
} from "./block-digest-layout.ts";
import { digestBytes } from "./digest-tree.ts";

const entryWords = digestBytes / 4;
/** `sources` has a byte an entry. */
const layersMax = 255;
/** What a cached window takes, with its objects. */
const cachedWindowBytes = windowBytes + windowEntries + 256;
const cachedWindowsMin = 4;

/** A window in the cache. It is used again for another one: keep no reference across calls that may load. */
export class DigestWindow {
  /** Place of the window in the file, in windows; -1 while it holds nothing. */
  number = -1;
  readonly bytes = new Uint8Array(windowBytes);
  readonly words = new Uint32Array(this.bytes.buffer);
  /** Layer that each entry comes from; the number of layers if none has it. */
  readonly sources = new Uint8Array(windowEntries);
  isDirty = false;
  isUsed = false;
}

/** All layers of a disk's digest files as one, of which the newest can be written. */
export class DigestWindows {
  readonly levels: readonly DigestLevel[];
  /** A source that means: no layer has it. */
  readonly absent: number;
  /** Windows that the cache may hold. */
  readonly capacity: number;
  private readonly layers: readonly DigestStorage[];
  private readonly zeroWords: readonly { each: Uint32Array; last: Uint32Array }[];
  private readonly cached = new Map<number, DigestWindow>();
  private readonly ring: DigestWindow[] = [];
  private hand = 0;
  private readonly spare = new DigestWindow();

  /** `layers` newest first. Throws RangeError if there are none or more than 255. */
  constructor(
    levels: readonly DigestLevel[],
    zeroEntries: readonly ZeroEntries[],
    layers: readonly DigestStorage[],
    cacheBytes: number,
  ) {
    if (layers.length < 1 || layers.length > layersMax) {
      throw new RangeError(`Cannot use ${layers.length} layers of digests: 1 to ${layersMax} are possible`);
    }
    this.levels = levels;
    this.layers = layers;
    this.absent = layers.length;
    this.capacity = Math.max(cachedWindowsMin, Math.floor(cacheBytes / cachedWindowBytes));
    this.zeroWords = zeroEntries.map(({ each, last }) => ({ each: wordsOf(each), last: wordsOf(last) }));
  }

  /** A window of a level, from the cache or from the layers. Valid until the next call. */
  get(level: number, index: number): DigestWindow {
    const number = this.levels[level].firstWindow + index;
    const hit = this.cached.get(number);
    if (hit) {
      hit.isUsed = true;
      return hit;
    }
    const window = this.freeWindow();
    this.load(window, level, index);
    window.number = number;
    window.isUsed = true;
    this.cached.set(number, window);
    return window;
  }

  /** Makes an entry of a window the newest layer's own: the 16 bytes at `from[at]`. False if it was so already. */
  put(window: DigestWindow, slot: number, from: Uint8Array, at: number): boolean {
    const { bytes, sources } = window;
    const to = slot * digestBytes;
    let differs = sources[slot] !== 0;
    for (let i = 0; i < digestBytes; i++) {
      if (bytes[to + i] !== from[at + i]) {
        bytes[to + i] = from[at + i];
        differs = true;
      }
    }
    if (!differs) return false;
    sources[slot] = 0;
    window.isDirty = true;
    return true;
  }

  /** True if an entry is what it is on a disk of zeroes. */
  isZero(window: DigestWindow, slot: number, level: number, index: number): boolean {
    const { words } = window;
    const zero = this.zeroAt(level, index, slot);
    const at = slot * entryWords;
    return (
      words[at] === zero[0] &&
      words[at + 1] === zero[1] &&
      words[at + 2] === zero[2] &&
      words[at + 3] === zero[3]
    );
  }

  /** Writes all that is not yet in the newest layer's storage. */
  flush(): void {
    const dirty = this.ring.filter((window) => window.isDirty).sort((a, b) => a.number - b.number);
    for (const window of dirty) this.write(window);
  }

  private zeroAt(level: number, index: number, slot: number): Uint32Array {
    const zero = this.zeroWords[level];
    return index * windowEntries + slot === this.levels[level].entries - 1 ? zero.last : zero.each;
  }

  private freeWindow(): DigestWindow {
    if (this.ring.length < this.capacity) {
      const window = new DigestWindow();
      this.ring.push(window);
      return window;
    }
    let window = this.ring[this.hand];
    while (window.isUsed) {
      window.isUsed = false;
      window = this.ring[this.next()];
    }
    if (window.isDirty) this.write(window);
    this.next();
    this.cached.delete(window.number);
    window.number = -1;
    return window;
  }

  private next(): number {
    this.hand = (this.hand + 1) % this.ring.length;
    return this.hand;
  }

  private load(window: DigestWindow, level: number, index: number): void {
    const entries = entriesOfWindow(this.levels[level], index);
    const at = (this.levels[level].firstWindow + index) * windowBytes;
    const { spare } = this;
    window.sources.fill(this.absent);
    let missing = entries;
    for (let layer = 0; layer < this.layers.length && missing > 0; layer++) {
      this.layers[layer].read(spare.bytes, at);
      missing -= this.fillFrom(spare.words, window, entries, layer);
    }
    if (missing === 0) return;
    for (let slot = 0; slot < entries; slot++) {
      if (window.sources[slot] !== this.absent) continue;
      copyEntry(this.zeroAt(level, index, slot), 0, window.words, slot * entryWords);
    }
  }

  /** Takes from a layer what newer ones do not have. Returns how many entries. */
  private fillFrom(words: Uint32Array, window: DigestWindow, entries: number, layer: number): number {
    let taken = 0;
    for (let slot = 0; slot < entries; slot++) {
      const at = slot * entryWords;
      if ((words[at] | words[at + 1] | words[at + 2] | words[at + 3]) === 0) continue;
      if (window.sources[slot] !== this.absent) continue;
      copyEntry(words, at, window.words, at);
      window.sources[slot] = layer;
      taken++;
    }
    return taken;
  }

  private write(window: DigestWindow): void {
    const { spare } = this;
    spare.words.fill(0);
    for (let slot = 0; slot < windowEntries; slot++) {
      if (window.sources[slot] !== 0) continue;
      copyEntry(window.words, slot * entryWords, spare.words, slot * entryWords);
    }
    this.layers[0].write(spare.bytes, window.number * windowBytes);
    window.isDirty = false;
  }
}

function wordsOf(entry: Uint8Array): Uint32Array {
  return new Uint32Array(entry.slice().buffer);
}

function copyEntry(from: Uint32Array, at: number, to: Uint32Array, toAt: number): void {
  to[toAt] = from[at];
  to[toAt + 1] = from[at + 1];
  to[toAt + 2] = from[at + 2];
  to[toAt + 3] = from[at + 3];
}

/** LZ4 and word deltas in the WASM core. Guard bytes lie around everything that a kernel writes. */

import { concatBytes } from "../../../src/bytes.ts";
import { CoreCode, loadCore } from "../../../src/core.ts";
import { noise, place } from "../../core/placing.ts";
import { mutateBytes } from "../mutate-bytes.ts";
import { bucket, demand, type Target } from "../target.ts";

const pageBytes = 4096;
/** Output of up to a frame's whole-page window. */
const outputMax = 1 << 18;
const codes: readonly number[] = Object.values(CoreCode);
const core = await loadCore({ initialBytes: 8 << 20 });

/** Input: u32 length of the output, then the block. */
export function lz4(): Target {
  const contents = [
    new Uint8Array(pageBytes),
    noise(pageBytes, 3, 5),
    noise(700, 4, 2),
    noise(40, 5),
    noise(20_000, 6, 3),
  ];
  return {
    name: "lz4",
    core,
    seeds: contents.map((content) =>
      withLength(content.length, core.lz4Compress(content) ?? Uint8Array.of(0)),
    ),
    mutate: (input, other, random) => mutateBytes(input, other, random, { hotBytes: 24 }),
    run: (input) => {
      const { length, rest } = lengthOf(input, outputMax);
      const source = place(core, rest, 1);
      const output = place(core, length, 3);
      const result = core.raw.lz4Decompress(source.pointer, rest.length, output.pointer, length);
      const isIntact = source.intact() && output.intact();
      const bytes = output.bytes();
      source.release();
      output.release();
      demand(isIntact, "bytes outside of the output were written");
      if (result < 0) return refused(result);
      demand(result === length, `it returned ${result} for ${length} bytes`);
      const again = core.lz4Compress(bytes);
      if (again !== null)
        demand(Buffer.compare(core.lz4Decompress(again, length), bytes) === 0, "round trip");
      return `whole ${bucket(length)}`;
    },
  };
}

/** Input: u32 start in the window, then the block of one page. */
export function lz4Linked(): Target {
  const windowBytes = 1 << 18;
  const window = place(core, noise(windowBytes, 7, 4));
  const clean = window.bytes();
  const pages = [noise(pageBytes, 7, 4), noise(pageBytes, 8, 2), new Uint8Array(pageBytes)];
  const seeds = pages.map((page, i) => {
    const start = i * pageBytes;
    core.bytes().set(page, window.pointer + start);
    const out = core.allocate(2 * pageBytes);
    const length = core.raw.lz4CompressLinked(window.pointer, start, pageBytes, out, 2 * pageBytes, true);
    const block = core.bytes().slice(out, out + length);
    core.release(out);
    return withLength(start, block);
  });
  return {
    name: "lz4-linked",
    core,
    seeds,
    mutate: (input, other, random) => mutateBytes(input, other, random, { hotBytes: 24 }),
    run: (input) => {
      const { length: start, rest } = lengthOf(input, windowBytes - pageBytes);
      core.bytes().set(clean, window.pointer);
      const source = place(core, rest, 5);
      const result = core.raw.lz4DecompressLinked(
        source.pointer,
        rest.length,
        window.pointer,
        start,
        pageBytes,
      );
      const isIntact = source.intact() && window.intact();
      source.release();
      const after = window.bytes();
      const isOutside = (from: number, to: number) =>
        Buffer.compare(after.subarray(from, to), clean.subarray(from, to)) === 0;
      demand(isIntact && isOutside(0, start), "bytes before the page were written");
      demand(isOutside(start + pageBytes, windowBytes), "bytes after the page were written");
      if (result < 0) return refused(result);
      demand(result === pageBytes, `it returned ${result}`);
      return `whole ${bucket(start)} ${bucket(rest.length)}`;
    },
  };
}

/** Input: u32 length of the masks, masks, literals. */
export function pageDelta(): Target {
  const base = noise(pageBytes, 9);
  const changed = [1, 3, 40, 512].map((words) => {
    const page = base.slice();
    for (let i = 0; i < words; i++) page[Math.floor((i * 512) / words) * 8] ^= 0x5a;
    return page;
  });
  const seeds = changed.map((page) => {
    const [at, under] = [place(core, page), place(core, base)];
    const [masks, literals] = [place(core, 72), place(core, pageBytes)];
    const packed = core.raw.deltaEncode(at.pointer, under.pointer, masks.pointer, literals.pointer);
    const parts = [
      masks.bytes().subarray(0, packed & 0xff),
      literals.bytes().subarray(0, (packed >>> 8) * 8),
    ];
    for (const placed of [at, under, masks, literals]) placed.release();
    return withLength(parts[0].length, concatBytes(parts));
  });
  return {
    name: "page-delta",
    core,
    seeds,
    mutate: (input, other, random) => mutateBytes(input, other, random, { hotBytes: 20 }),
    run: (input) => {
      const { length, rest } = lengthOf(input, input.length);
      const [masks, literals] = [
        place(core, rest.subarray(0, length), 3),
        place(core, rest.subarray(length), 5),
      ];
      const page = place(core, base, 8);
      const [maskBytes, literalBytes] = [Math.min(length, rest.length), Math.max(0, rest.length - length)];
      const apply = () =>
        core.raw.deltaApply(page.pointer, masks.pointer, maskBytes, literals.pointer, literalBytes);
      const result = apply();
      const once = page.bytes();
      const again = apply();
      const twice = page.bytes();
      const isIntact = [masks, literals, page].every((placed) => placed.intact());
      for (const placed of [masks, literals, page]) placed.release();
      demand(isIntact, "bytes outside of the page were written");
      demand(
        again === result && Buffer.compare(once, twice) === 0,
        "applying it twice is not applying it once",
      );
      if (result < 0) {
        demand(Buffer.compare(once, base) === 0, "the page was touched though the delta was refused");
        return refused(result);
      }
      const [used, words] = [result & 0xff, result >>> 8];
      demand(used <= maskBytes && words * 8 <= literalBytes && words > 0, `it used ${used} and ${words}`);
      return `applied ${bucket(used)} ${bucket(words)}`;
    },
  };
}

function refused(result: number): string {
  demand(codes.includes(result), `it returned ${result}, which is no code`);
  return `refused ${result}`;
}

function withLength(length: number, rest: Uint8Array): Uint8Array {
  const head = new Uint8Array(4);
  new DataView(head.buffer).setUint32(0, length, true);
  return concatBytes([head, rest]);
}

function lengthOf(input: Uint8Array, most: number): { length: number; rest: Uint8Array } {
  const head = new Uint8Array(4);
  head.set(input.subarray(0, 4));
  return { length: new DataView(head.buffer).getUint32(0, true) % (most + 1), rest: input.subarray(4) };
}

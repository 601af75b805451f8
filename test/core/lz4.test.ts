import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import t from "tap";
import { CoreCode, loadCore } from "../../src/core.ts";
import { noise, place } from "./placing.ts";
import { readOwnMemoryTwice } from "./real-memory.ts";
import { lz4DecodeTwin, lz4EncodeTwin } from "./twin/lz4.ts";

const PAGE = 4096;
const core = await loadCore();
const { raw } = core;

/** Compresses into `capacity` bytes; null if the kernel says that it does not fit. Throws if a guard changed. */
function compress(input: Uint8Array, capacity = raw.lz4Bound(input.length)): Uint8Array | null {
  const src = place(core, input, 1);
  const dst = place(core, capacity);
  const length = raw.lz4Compress(src.pointer, input.length, dst.pointer, capacity);
  const block = dst.bytes().slice(0, length);
  const intact = dst.intact() && src.intact();
  src.release();
  dst.release();
  if (!intact) throw new Error("lz4Compress wrote outside its output");
  return length === 0 ? null : block;
}

/** Decompresses into exactly `length` bytes. Throws if a guard changed. */
function decompress(block: Uint8Array, length: number): { result: number; bytes: Uint8Array } {
  const src = place(core, block, 1);
  const dst = place(core, length);
  const result = raw.lz4Decompress(src.pointer, block.length, dst.pointer, length);
  const outcome = { result, bytes: dst.bytes() };
  const intact = dst.intact() && src.intact();
  src.release();
  dst.release();
  if (!intact) throw new Error("lz4Decompress wrote outside its output");
  return outcome;
}

/** Inputs of many shapes: runs, repeats at various distances, text-like, incompressible. */
const inputs = fc.oneof(
  fc.uint8Array({ maxLength: 300 }),
  fc
    .record({ length: fc.nat(3000), seed: fc.nat(), values: fc.integer({ min: 1, max: 256 }) })
    .map((shape) => noise(shape.length, shape.seed, shape.values)),
  fc
    .record({ length: fc.nat(3000), seed: fc.nat(), period: fc.integer({ min: 1, max: 40 }) })
    .map((shape) => {
      const pattern = noise(shape.period, shape.seed);
      return Uint8Array.from({ length: shape.length }, (_, i) => pattern[i % shape.period]!);
    }),
);

t.test("what is compressed comes back, from the core and from the twin", async (t) => {
  fc.assert(
    fc.property(inputs, (input) => {
      const block = compress(input);
      if (block === null) return false;
      const twin = lz4DecodeTwin(block, input.length);
      const { result, bytes } = decompress(block, input.length);
      return (
        result === input.length &&
        Buffer.compare(bytes, input) === 0 &&
        twin !== null &&
        Buffer.compare(twin, input) === 0
      );
    }),
    { numRuns: 500 },
  );
  t.pass();
});

t.test("blocks of the twin, with the longest match at each place, decompress", async (t) => {
  fc.assert(
    fc.property(inputs, (all) => {
      const input = all.subarray(0, 500);
      const { result, bytes } = decompress(lz4EncodeTwin(input), input.length);
      return result === input.length && Buffer.compare(bytes, input) === 0;
    }),
    { numRuns: 300 },
  );
  t.pass();
});

t.test("real memory comes back, by page and by 64 KiB", async (t) => {
  const { after } = readOwnMemoryTwice(512);
  let stored = 0;
  for (const size of [PAGE, 16 * PAGE]) {
    for (let at = 0; at < after.length; at += size) {
      const input = after.subarray(at, at + size);
      const block = compress(input)!;
      stored += block.length;
      const { bytes } = decompress(block, input.length);
      if (Buffer.compare(bytes, input) !== 0) t.fail(`${size} bytes at ${at}`);
    }
  }
  t.ok(stored < after.length, `${2 * after.length} bytes became ${stored}`);
});

t.test("compression succeeds with exactly the room it needs and not with less", async (t) => {
  for (const input of [
    noise(1000, 1, 4),
    noise(1000, 2),
    new Uint8Array(5000),
    noise(5, 3),
    new Uint8Array(0),
  ]) {
    const block = compress(input)!;
    t.same(compress(input, block.length), block);
    for (let capacity = 0; capacity < block.length; capacity += 1 + (block.length >> 6)) {
      if (compress(input, capacity) !== null) t.fail(`${block.length} bytes fit into ${capacity}`);
    }
  }
});

t.test("the same input gives the same block whatever came before", async (t) => {
  const input = noise(20_000, 11, 5);
  const block = compress(input);
  for (let i = 0; i < 20; i++) compress(noise(1000 * i, 12 + i, 5));
  t.same(compress(input), block);
});

t.test("the hash table is reset before positions run out", async (t) => {
  const bytes = 256 * 1024 * 1024;
  const src = core.allocate(bytes);
  const dst = core.allocate(2 * 1024 * 1024);
  core.bytes().fill(0, src, src + bytes);
  const input = noise(5000, 13, 3);
  const block = compress(input);
  for (let i = 0; i < 6; i++) t.ok(raw.lz4Compress(src, bytes, dst, 2 * 1024 * 1024) > 0);
  core.release(src);
  core.release(dst);
  t.same(compress(input), block);
});

t.test("a block cut at each offset is refused", async (t) => {
  const input = noise(600, 21, 3);
  const block = compress(input)!;
  for (let length = 0; length < block.length; length++) {
    const { result } = decompress(block.subarray(0, length), input.length);
    if (result >= 0) t.fail(`accepted when cut to ${length} of ${block.length}`);
  }
  t.equal(decompress(new Uint8Array(0), 0).result, CoreCode.truncated);
  t.equal(decompress(Uint8Array.of(0), 0).result, 0, "one empty sequence is the empty block");
});

t.test("a wrong length of the output is refused", async (t) => {
  const input = noise(600, 22, 3);
  const block = compress(input)!;
  t.equal(decompress(block, input.length + 1).result, CoreCode.shortOutput);
  t.equal(decompress(block, input.length - 1).result, CoreCode.overrun);
  t.equal(decompress(block, 0).result, CoreCode.overrun);
});

t.test("references before the output and distance 0 are refused", async (t) => {
  // One literal, then a match of 4 at the distance in bytes 2 and 3, then 5 literals.
  const block = (distance: number): Uint8Array => Uint8Array.of(0x10, 7, distance, 0, 0x50, 1, 2, 3, 4, 5);
  t.same([...decompress(block(1), 10).bytes], [7, 7, 7, 7, 7, 1, 2, 3, 4, 5]);
  t.equal(decompress(block(2), 10).result, CoreCode.badOffset);
  t.equal(decompress(block(0), 10).result, CoreCode.badOffset);
});

t.test("lengths that go on for ever are refused", async (t) => {
  const endless = new Uint8Array(100_000).fill(255);
  endless[0] = 0xf0;
  t.equal(decompress(endless, 5000).result, CoreCode.overrun);
  t.equal(decompress(endless.subarray(0, 10), 5000).result, CoreCode.truncated);
  const match = Uint8Array.of(0x1f, 7, 1, 0, ...endless.subarray(1));
  t.equal(decompress(match, 5000).result, CoreCode.overrun);
});

t.test(
  "damaged and random blocks are decoded as the twin decodes them, and never outside the output",
  async (t) => {
    const block = compress(noise(2000, 31, 3))!;
    const agrees = (bytes: Uint8Array, length: number): boolean => {
      const twin = lz4DecodeTwin(bytes, length);
      const core = decompress(bytes, length);
      return twin === null
        ? core.result < 0
        : core.result === length && Buffer.compare(core.bytes, twin) === 0;
    };
    for (let bit = 0; bit < block.length * 8; bit++) {
      const damaged = block.slice();
      damaged[bit >> 3]! ^= 1 << (bit & 7);
      if (!agrees(damaged, 2000)) t.fail(`bit ${bit}`);
    }
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(400), agrees), { numRuns: 3000 });
    t.pass();
  },
);

t.test("linked blocks of a window come back and are smaller than separate ones", async (t) => {
  const { after } = readOwnMemoryTwice(256);
  const window = place(core, after);
  const copy = place(core, after.length);
  const dst = place(core, 2 * PAGE);
  let linkedBytes = 0;
  let separateBytes = 0;
  for (let start = 0; start < after.length; start += PAGE) {
    const fresh = start === 0;
    const length = raw.lz4CompressLinked(window.pointer, start, PAGE, dst.pointer, 2 * PAGE, fresh);
    linkedBytes += length;
    separateBytes += compress(after.subarray(start, start + PAGE))!.length;
    const twin = lz4DecodeTwin(
      dst.bytes().subarray(0, length),
      PAGE,
      after.slice(Math.max(0, start - 65535), start),
    );
    if (twin === null || Buffer.compare(twin, after.subarray(start, start + PAGE)) !== 0) {
      t.fail(`the twin differs at ${start}`);
    }
    if (raw.lz4DecompressLinked(dst.pointer, length, copy.pointer, start, PAGE) !== PAGE)
      t.fail(`page at ${start}`);
  }
  t.equal(Buffer.compare(copy.bytes(), after), 0);
  t.ok(copy.intact() && dst.intact());
  t.ok(linkedBytes < separateBytes, `${linkedBytes} linked, ${separateBytes} separate`);
});

t.test("a fresh window does not refer to the one before", async (t) => {
  const first = noise(3 * PAGE, 41);
  const window = place(core, first);
  const dst = place(core, 2 * PAGE);
  const linked = (start: number, fresh: boolean): Uint8Array => {
    const length = raw.lz4CompressLinked(window.pointer, start, PAGE, dst.pointer, 2 * PAGE, fresh);
    return dst.bytes().slice(0, length);
  };
  const alone = linked(0, true);
  t.same(lz4DecodeTwin(alone, PAGE), first.subarray(0, PAGE));
  linked(PAGE, false);
  linked(2 * PAGE, false);
  t.same(linked(0, true), alone, "the table was forgotten");

  // The same content again one page on: with history it is one match, without it is incompressible.
  core.bytes().copyWithin(window.pointer + PAGE, window.pointer, window.pointer + PAGE);
  t.ok(linked(PAGE, false).length < 100);
  linked(0, true);
  t.ok(linked(2 * PAGE, true).length > PAGE - 100);
});

t.test(
  "a window whose pages were replaced or skipped without a reset still gives right blocks",
  async (t) => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ page: fc.nat(3), seed: fc.nat(5), values: fc.integer({ min: 2, max: 9 }) }), {
          maxLength: 12,
        }),
        (steps) => {
          const window = place(core, 4 * PAGE);
          const dst = place(core, 2 * PAGE);
          const right = steps.every(({ page, seed, values }, i) => {
            const content = noise(PAGE, seed + 1, values);
            const start = page * PAGE;
            core.bytes().set(content, window.pointer + start);
            const length = raw.lz4CompressLinked(window.pointer, start, PAGE, dst.pointer, 2 * PAGE, i === 0);
            const history = window.bytes().slice(0, start);
            const twin = lz4DecodeTwin(dst.bytes().subarray(0, length), PAGE, history);
            return twin !== null && Buffer.compare(twin, content) === 0;
          });
          window.release();
          dst.release();
          return right;
        },
      ),
      { numRuns: 50 },
    );
    t.pass();
  },
);

t.test("linked blocks cannot refer before the window or write outside their part of it", async (t) => {
  const block = (distance: number): Uint8Array =>
    Uint8Array.of(0x10, 7, distance & 255, distance >> 8, 0x50, 1, 2, 3, 4, 5);
  const history = noise(100, 51);
  const linked = (distance: number): { result: number; before: Uint8Array } => {
    const window = place(core, Uint8Array.from([...history, ...new Uint8Array(10)]));
    const src = place(core, block(distance));
    const result = raw.lz4DecompressLinked(src.pointer, 10, window.pointer, 100, 10);
    const outcome = { result: window.intact() ? result : Number.NaN, before: window.bytes().slice(0, 100) };
    window.release();
    src.release();
    return outcome;
  };
  t.equal(linked(101).result, 10, "the first byte of the window");
  t.equal(linked(102).result, CoreCode.badOffset);
  for (let distance = 0; distance < 300; distance++) {
    if (Buffer.compare(linked(distance).before, history) !== 0) t.fail(`history changed by ${distance}`);
  }
});

t.test("the lz4 program reads our blocks and we read its blocks", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "bfmig-lz4-"));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const { after } = readOwnMemoryTwice(256);
  for (const [name, input] of Object.entries({
    memory: after,
    zero: new Uint8Array(200_000),
    noise: noise(70_000, 61),
  })) {
    const plain = join(folder, name);
    const packed = join(folder, `${name}.lz4`);

    writeFileSync(packed, legacyFrame(compress(input)!));
    runLz4("-d", "-f", packed, plain);
    t.equal(Buffer.compare(readFileSync(plain), input), 0, `${name}: ours read by lz4`);

    writeFileSync(plain, input);
    runLz4("-l", "-f", plain, packed);
    const block = readFileSync(packed).subarray(8);
    const { result, bytes } = decompress(block, input.length);
    t.equal(result, input.length);
    t.equal(Buffer.compare(bytes, input), 0, `${name}: lz4's read by us`);
  }
});

/** The legacy frame: magic number, length, one block of at most 8 MiB when decompressed. */
function legacyFrame(block: Uint8Array): Uint8Array {
  const frame = new Uint8Array(8 + block.length);
  const view = new DataView(frame.buffer);
  view.setUint32(0, 0x184c2102, true);
  view.setUint32(4, block.length, true);
  frame.set(block, 8);
  return frame;
}

function runLz4(...options: string[]): void {
  const { error, status, stderr } = spawnSync("lz4", options, { encoding: "utf8" });
  if (error !== undefined)
    throw new Error("Install the package lz4: this test runs its program", { cause: error });
  if (status !== 0) throw new Error(`lz4 ${options.join(" ")}: ${stderr}`);
}

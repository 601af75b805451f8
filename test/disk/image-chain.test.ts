import fc from "fast-check";
import t from "tap";
import { nodeDecompressors } from "../../cli/disk/file-source.ts";
import type { DiskImage, RangeStatus } from "../../src/disk/disk-image.ts";
import { ImageChain, maxRunBlocks } from "../../src/disk/image-chain.ts";
import { openImage } from "../../src/disk/open-image.ts";
import { noise } from "../core/placing.ts";
import { imageShapes, kindAt } from "./image-shapes.ts";
import { MemorySource } from "./memory-source.ts";
import { buildQcow2 } from "./qcow2-builder.ts";

const BLOCK = 4096;

const chainShapes = fc.record({
  shapes: fc.array(imageShapes, { maxLength: 3 }),
  rawBytes: fc.option(fc.nat(300_000)),
  otherBytes: fc.nat(400_000),
});

type ChainShape = typeof chainShapes extends fc.Arbitrary<infer Shape> ? Shape : never;

/** A chain, and its disk as a naive reader sees it, byte by byte. */
function buildChain({ shapes, rawBytes, otherBytes }: ChainShape) {
  // Mostly a chain's length is that of its newest image.
  const lengthBytes = shapes.length > 0 && otherBytes % 4 > 0 ? shapes[0].diskBytes : otherBytes;
  const built = shapes.map((shape) => buildQcow2(shape));
  const images = built.map(({ bytes }) => openImage(new MemorySource(bytes), "qcow2", nodeDecompressors));
  const raw = noise(rawBytes ?? 0, 77);
  if (rawBytes !== null) images.push(openImage(new MemorySource(raw), "raw"));
  const blocks = Math.ceil(lengthBytes / BLOCK);
  const content = new Uint8Array(blocks * BLOCK);
  const hasData = new Array<boolean>(blocks).fill(false);
  for (let at = 0; at < lengthBytes; at++) {
    const level = built.findIndex(
      ({ kinds, content }) => at >= content.length || kindAt(kinds, at) !== "absent",
    );
    const isRaw = level === -1 && at < raw.length;
    const isData =
      isRaw || (level >= 0 && at < built[level].content.length && kindAt(built[level].kinds, at) === "data");
    if (!isData) continue;
    content[at] = isRaw ? raw[at] : built[level].content[at];
    hasData[Math.floor(at / BLOCK)] = true;
  }
  return { chain: new ImageChain(images, lengthBytes), content, hasData, blocks };
}

t.test("blocks of a chain are those that a naive reader sees", async () => {
  fc.assert(
    fc.property(chainShapes, fc.nat(), fc.nat(), (shape, from, length) => {
      const { chain, content, blocks } = buildChain(shape);
      const block = from % (blocks + 1);
      const count = length % (blocks - block + 1);
      const memory = new Uint8Array(count * BLOCK + 20).fill(0xdd);
      chain.readBlocks(memory, 10, block, count);
      const expected = content.subarray(block * BLOCK, (block + count) * BLOCK);
      const guards = [...memory.subarray(0, 10), ...memory.subarray(-10)];
      return Buffer.compare(memory.subarray(10, -10), expected) === 0 && guards.every((x) => x === 0xdd);
    }),
    { numRuns: 60 },
  );
});

t.test(
  "runs of data are exactly the blocks that have data in some image, and all others are known zero",
  async () => {
    fc.assert(
      fc.property(chainShapes, fc.nat(), fc.nat(), (shape, a, b) => {
        const { chain, hasData, blocks } = buildChain(shape);
        const from = a % (blocks + 1);
        const to = from + (b % (blocks - from + 1));
        const seen = new Array<boolean>(blocks).fill(false);
        let end = -1;
        for (const { block, count } of chain.dataRuns(from, to)) {
          if (count < 1 || block < from || block <= end) return false;
          end = block + count;
          seen.fill(true, block, end);
        }
        if (end > to) return false;
        for (let i = from; i < to; i++) {
          if (seen[i] !== hasData[i] || chain.isKnownZero(i, 1) === hasData[i]) return false;
        }
        return chain.isKnownZero(from, to - from) === !hasData.slice(from, to).includes(true);
      }),
      { numRuns: 60 },
    );
  },
);

t.test("blocks can be read between two runs", async () => {
  fc.assert(
    fc.property(chainShapes, (shape) => {
      const { chain, content, blocks } = buildChain(shape);
      const disk = new Uint8Array(blocks * BLOCK);
      for (const { block, count } of chain.dataRuns()) chain.readBlocks(disk, block * BLOCK, block, count);
      return Buffer.compare(disk, content) === 0;
    }),
    { numRuns: 60 },
  );
});

/** An image of a given size that counts how often it is asked. */
function modelImage(lengthBytes: number, answer: (at: number, length: number) => RangeStatus) {
  const image: DiskImage & { asked: number } = {
    asked: 0,
    lengthBytes,
    backing: null,
    status: (at, length) => {
      image.asked++;
      return answer(at, length);
    },
    read: () => {},
    close: () => {},
  };
  return image;
}

t.test("long data comes in runs that one can stop between", async (t) => {
  const whole = modelImage(2 ** 40, (_, length) => ({ kind: "data", lengthBytes: length }));
  const chain = new ImageChain([whole], 2 ** 40);
  const first = chain.dataRuns().next();
  t.strictSame(first.value, { block: 0, count: maxRunBlocks });
  t.equal(whole.asked, 1);
  let blocks = 0;
  for (const { count } of chain.dataRuns()) blocks += count;
  t.equal(blocks, 2 ** 28);
});

t.test("a long absent range above fragments is not asked for again at each of them", async (t) => {
  const size = 2 ** 30;
  const overlay = modelImage(size, (_, length) => ({ kind: "absent", lengthBytes: length }));
  const base = modelImage(size, (at, length) => ({
    kind: Math.floor(at / 65536) % 2 === 0 ? "data" : "absent",
    lengthBytes: Math.min(length, 65536 - (at % 65536)),
  }));
  const chain = new ImageChain([overlay, base], size);
  const memory = new Uint8Array(BLOCK);
  let runs = 0;
  for (const { block } of chain.dataRuns()) {
    chain.readBlocks(memory, 0, block, 1);
    runs++;
  }
  t.equal(runs, size / 131072);
  t.ok(overlay.asked <= runs + 1, `asked ${overlay.asked} times`);
});

t.test("blocks outside the disk and targets outside the memory are a RangeError", async (t) => {
  const chain = new ImageChain([], 10_000);
  t.equal(chain.blocks, 3);
  const memory = new Uint8Array(2 * BLOCK);
  t.throws(() => chain.readBlocks(memory, 0, 2, 2), RangeError);
  t.throws(() => chain.readBlocks(memory, 0, -1, 1), RangeError);
  t.throws(() => chain.readBlocks(memory, 0, 0, -1), RangeError);
  t.throws(() => chain.readBlocks(memory, 0, 0.5, 1), RangeError);
  t.throws(() => chain.readBlocks(memory, 1, 0, 2), RangeError);
  t.throws(() => chain.readBlocks(memory, -1, 0, 1), RangeError);
  t.throws(() => chain.readBlocks(memory, Number.NaN, 0, 1), RangeError);
  t.throws(() => chain.isKnownZero(0, 4), RangeError);
  t.throws(() => [...chain.dataRuns(0, 4)], RangeError);
  t.throws(() => new ImageChain([], -1), RangeError);
  t.throws(() => new ImageChain([], 2 ** 53), RangeError);
});

t.test("no blocks at the end of a disk are read as nothing", async (t) => {
  const memory = new Uint8Array(BLOCK).fill(7);
  const chain = new ImageChain([], 10_000);
  chain.readBlocks(memory, BLOCK, 3, 0);
  t.ok(memory.every((byte) => byte === 7));
  t.ok(chain.isKnownZero(3, 0));
  t.strictSame([...chain.dataRuns(3)], []);
});

t.test("closing a chain closes all its images", async (t) => {
  const sources = [new MemorySource(new Uint8Array(512)), new MemorySource(new Uint8Array(512))];
  new ImageChain(
    sources.map((source) => openImage(source, "raw")),
    512,
  ).close();
  t.strictSame(
    sources.map(({ isOpen }) => isOpen),
    [false, false],
  );
});

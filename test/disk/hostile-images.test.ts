import fc from "fast-check";
import t from "tap";
import { nodeDecompressors } from "../../cli/disk/file-source.ts";
import type { ByteSource } from "../../src/disk/byte-source.ts";
import { ImageChain } from "../../src/disk/image-chain.ts";
import { openImage } from "../../src/disk/open-image.ts";
import { FormatError } from "../../src/errors.ts";
import { imageShapes } from "./image-shapes.ts";
import { MemorySource } from "./memory-source.ts";
import { type BuiltImage, buildQcow2, type ImageShape } from "./qcow2-builder.ts";

const BLOCK = 4096;
/** Reads of a source after which a reader counts as hanging. */
const MOST_READS = 100_000;

/** Every kind of cluster, in the smallest images that have several tables or extended entries. */
const SHAPES: Record<string, ImageShape> = {
  "small clusters": {
    version: 3,
    clusterBits: 9,
    extended: false,
    diskBytes: 100 * 512 - 7,
    clusters: Array.from({ length: 100 }, (_, i) => ({
      kind: (["data", "zero", "compressed", "absent", "zero-allocated"] as const)[i % 5],
    })),
    seed: 11,
    backing: { file: "base.raw", format: "raw" },
  },
  "extended entries": {
    version: 3,
    clusterBits: 14,
    extended: true,
    diskBytes: 4 << 14,
    clusters: [
      {
        kind: "sub",
        sub: Array.from({ length: 32 }, (_, i) => (["data", "zero", "absent"] as const)[i % 3]),
      },
      { kind: "compressed" },
      { kind: "zero-allocated" },
      { kind: "data" },
    ],
    seed: 12,
  },
  "version 2": {
    version: 2,
    clusterBits: 12,
    extended: false,
    diskBytes: 20_000,
    clusters: [
      { kind: "data" },
      { kind: "compressed" },
      { kind: "absent" },
      { kind: "data" },
      { kind: "data" },
    ],
    seed: 13,
    backing: { file: "base" },
  },
};

/** Fails instead of going on for ever. */
class BoundedSource extends MemorySource {
  override read(...args: Parameters<ByteSource["read"]>): number {
    if (this.reads >= MOST_READS) throw new Error("the reader does not end");
    return super.read(...args);
  }
}

/** Opens, walks and reads; damage must be a FormatError. Gives back what was read, null if there was damage. */
function exercise(bytes: Uint8Array): Uint8Array[] | null {
  const source = new BoundedSource(bytes);
  const parts: Uint8Array[] = [];
  try {
    const image = openImage(source, "qcow2", nodeDecompressors);
    const chain = new ImageChain([image], image.lengthBytes);
    let runs = 0;
    for (const { block, count } of chain.dataRuns()) {
      const part = new Uint8Array(Math.min(count, 64) * BLOCK);
      chain.readBlocks(part, 0, block, part.length / BLOCK);
      parts.push(part);
      chain.isKnownZero(block, count);
      // A disk of terabytes that says to be full of data is not damaged, but takes long to read.
      if (++runs === 200) break;
    }
    return parts;
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    return null;
  }
}

/** Positions of the parts that say where everything is. */
function metadata(built: BuiltImage, clusterBits: number): number[] {
  const ranges = [
    [0, 160],
    [built.l1At, 24],
    ...built.l2At.map((at) => [at, Math.min(2 ** clusterBits, 512)]),
  ];
  return ranges.flatMap(([at, length]) => Array.from({ length }, (_, i) => at + i));
}

for (const [name, shape] of Object.entries(SHAPES)) {
  const built = buildQcow2(shape);

  t.test(`${name}: a flipped bit of header or tables gives an error or content`, async (t) => {
    t.not(exercise(built.bytes), null, "without damage there is no error");
    let refused = 0;
    for (const at of metadata(built, shape.clusterBits)) {
      for (let bit = 0; bit < 8; bit++) {
        built.bytes[at] ^= 1 << bit;
        if (exercise(built.bytes) === null) refused++;
        built.bytes[at] ^= 1 << bit;
      }
    }
    t.ok(refused > 300, `${refused} refused`);
  });

  t.test(
    `${name}: a truncated image gives an error unless nothing was cut off that the disk needs`,
    async (t) => {
      const step = Math.ceil(built.bytes.length / 700);
      let refused = 0;
      let lengths = 0;
      for (let length = 0; length < built.bytes.length; length += step, lengths++) {
        const parts = exercise(built.bytes.slice(0, length));
        if (parts === null) refused++;
        else t.strictSame(parts, exercise(built.bytes), `${length} bytes`);
      }
      t.ok(refused > lengths * 0.6, `${refused} of ${lengths} refused`);
    },
  );
}

t.test("several changed bytes give an error or content", async () => {
  const changes = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 6 });
  fc.assert(
    fc.property(imageShapes, changes, (shape, changes) => {
      const built = buildQcow2(shape);
      const places = metadata(built, shape.clusterBits);
      for (const [at, value] of changes) built.bytes[places[at % places.length]] = value;
      exercise(built.bytes);
    }),
    { numRuns: 150 },
  );
});

t.test("bytes that are no image give an error", async () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 2000 }), (bytes) => {
      if (exercise(bytes) !== null) return false;
      bytes.set(Uint8Array.of(0x51, 0x46, 0x49, 0xfb, 0, 0, 0, 3).subarray(0, bytes.length));
      exercise(bytes);
      return true;
    }),
  );
});

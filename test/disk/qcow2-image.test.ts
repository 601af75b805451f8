import { inflateRawSync } from "node:zlib";
import fc from "fast-check";
import t from "tap";
import { nodeDecompressors } from "../../cli/disk/file-source.ts";
import { openImage } from "../../src/disk/open-image.ts";
import { FormatError } from "../../src/errors.ts";
import { imageShapes, kindAt } from "./image-shapes.ts";
import { MemorySource } from "./memory-source.ts";
import { type BuiltImage, buildQcow2, type ImageShape, SECTOR } from "./qcow2-builder.ts";

const SMALL: ImageShape = {
  version: 3,
  clusterBits: 9,
  extended: false,
  diskBytes: 70 * 512 - 100,
  clusters: Array.from({ length: 70 }, (_, i) => ({ kind: i < 60 ? "data" : "absent" })),
  seed: 5,
};

function open(built: BuiltImage) {
  const source = new MemorySource(built.bytes);
  return { source, image: openImage(source, "qcow2", nodeDecompressors) };
}

t.test("status has the kind of every byte, and read has the content of every range of data", async () => {
  fc.assert(
    fc.property(imageShapes, (shape) => {
      const built = buildQcow2(shape);
      const { image } = open(built);
      if (image.lengthBytes !== shape.diskBytes) return false;
      for (let at = 0; at < image.lengthBytes; ) {
        const { kind, lengthBytes } = image.status(at, image.lengthBytes - at);
        for (let i = at; i < at + lengthBytes; i += SECTOR) if (kindAt(built.kinds, i) !== kind) return false;
        const next = at + lengthBytes;
        if (next < image.lengthBytes && kindAt(built.kinds, next) === kind) return false;
        if (kind === "data") {
          const memory = new Uint8Array(lengthBytes + 2).fill(0xee);
          image.read(memory, 1, lengthBytes, at);
          if (Buffer.compare(memory.subarray(1, -1), built.content.subarray(at, next)) !== 0) return false;
          if (memory[0] !== 0xee || memory[lengthBytes + 1] !== 0xee) return false;
        }
        at = next;
      }
      return true;
    }),
  );
});

t.test("any part of a range of data can be asked for and read", async () => {
  fc.assert(
    fc.property(imageShapes, fc.nat(), fc.nat(), (shape, from, length) => {
      const built = buildQcow2(shape);
      const { image } = open(built);
      const at = from % image.lengthBytes;
      const wanted = 1 + (length % (image.lengthBytes - at));
      const { kind, lengthBytes } = image.status(at, wanted);
      if (lengthBytes < 1 || lengthBytes > wanted || kind !== kindAt(built.kinds, at)) return false;
      if (kind !== "data") return true;
      const memory = new Uint8Array(lengthBytes);
      image.read(memory, 0, lengthBytes, at);
      return Buffer.compare(memory, built.content.subarray(at, at + lengthBytes)) === 0;
    }),
  );
});

t.test("clusters that follow each other in the file are read at once", async (t) => {
  const { source, image } = open(buildQcow2(SMALL));
  const memory = new Uint8Array(60 * 512);
  image.read(memory, 0, memory.length, 0);
  source.reads = 0;
  image.read(memory, 0, memory.length, 0);
  t.equal(source.reads, 1);
});

t.test("a compressed cluster is expanded once for reads of its parts", async (t) => {
  let expanded = 0;
  const shape: ImageShape = {
    ...SMALL,
    clusterBits: 16,
    clusters: [{ kind: "compressed" }],
    diskBytes: 65536,
  };
  const { bytes, content } = buildQcow2(shape);
  const image = openImage(new MemorySource(bytes), "qcow2", {
    inflateRaw: (bytes, maxBytes) => {
      expanded++;
      return inflateRawSync(bytes, { maxOutputLength: maxBytes });
    },
  });
  const memory = new Uint8Array(65536);
  for (let at = 0; at < memory.length; at += 4096) image.read(memory, at, 4096, at);
  t.strictSame(Buffer.compare(memory, content), 0);
  t.equal(expanded, 1);
});

t.test("a compressed cluster is refused where there is no decompressor, or a wrong one", async (t) => {
  const shape: ImageShape = { ...SMALL, clusters: [{ kind: "compressed" }], diskBytes: 512 };
  const { bytes } = buildQcow2(shape);
  const memory = new Uint8Array(512);
  const readWith = (inflateRaw?: (bytes: Uint8Array, maxBytes: number) => Uint8Array) => () =>
    openImage(new MemorySource(bytes), "qcow2", { inflateRaw }).read(memory, 0, 512, 0);
  t.throws(readWith(), { name: "FormatError", code: "unsupported" });
  t.throws(
    readWith(() => new Uint8Array(511)),
    { name: "FormatError", code: "bad-length" },
  );
  t.throws(
    readWith(() => {
      throw "no";
    }),
    { name: "FormatError", code: "bad-value", message: /no/ },
  );
});

t.test("caller's mistakes are a RangeError", async (t) => {
  const { image } = open(buildQcow2(SMALL));
  const memory = new Uint8Array(4096);
  for (const [at, length] of [
    [-1, 1],
    [0, 0],
    [0.5, 1],
    [0, 0.5],
    [Number.NaN, 1],
    [0, image.lengthBytes + 1],
    [image.lengthBytes, 1],
  ] as const) {
    t.throws(() => image.status(at, length), RangeError, `status of ${length} bytes at ${at}`);
    t.throws(() => image.read(memory, 0, length, at), RangeError, `read of ${length} bytes at ${at}`);
  }
  t.throws(() => image.read(memory, 0, 512, 60 * 512), RangeError, "read of what is absent");
});

t.test("status stops before damage, and only what lies there gets the error", async (t) => {
  const built = buildQcow2(SMALL);
  built.bytes[built.l2At[0] + 10 * 8 + 7] = 0x40;
  const { image } = open(built);
  t.strictSame(image.status(0, image.lengthBytes), { kind: "data", lengthBytes: 10 * 512 });
  t.throws(() => image.status(10 * 512, 1), { code: "bad-value", offset: built.l2At[0] + 80 });
  t.throws(() => image.read(new Uint8Array(512), 0, 512, 10 * 512), FormatError);
  t.strictSame(image.status(11 * 512, 512), { kind: "data", lengthBytes: 512 });
});

t.test("closing the image closes the source", async (t) => {
  const { source, image } = open(buildQcow2(SMALL));
  image.close();
  t.notOk(source.isOpen);
});

import t from "tap";
import { openImage, probeFormat } from "../../src/disk/open-image.ts";
import { qcow2Limits, readQcow2Header } from "../../src/disk/qcow2-header.ts";
import { writeBe32, writeBe64 } from "../../src/qemu-stream/big-endian.ts";
import { MemorySource } from "./memory-source.ts";
import { buildQcow2, type ImageShape } from "./qcow2-builder.ts";

const SHAPE: ImageShape = {
  version: 3,
  clusterBits: 12,
  extended: false,
  diskBytes: 9000,
  clusters: [{ kind: "data" }, { kind: "absent" }, { kind: "data" }],
  seed: 9,
};

function headerOf(shape: ImageShape) {
  return readQcow2Header(new MemorySource(buildQcow2(shape).bytes));
}

/** A header after a change of its bytes. */
function headerAfter(change: (bytes: Uint8Array) => void, shape = SHAPE) {
  const { bytes } = buildQcow2(shape);
  change(bytes);
  return () => readQcow2Header(new MemorySource(bytes));
}

t.test("a header tells what reading the disk needs", async (t) => {
  t.strictSame(headerOf(SHAPE), {
    version: 3,
    clusterBits: 12,
    extendedL2: false,
    compression: "deflate",
    diskBytes: 9000,
    l1Entries: 1,
    l1Offset: 4096,
    backing: null,
  });
});

t.test("the backing file and its format are as the header names them", async (t) => {
  for (const version of [2, 3] as const) {
    const backing = (file: string, format?: string) =>
      headerOf({ ...SHAPE, version, backing: { file, format }, strangeExtensions: [0, 1, 8, 100] }).backing;
    t.strictSame(backing("base.img"), { file: "base.img", format: null });
    t.strictSame(backing("../ä/base.img", "raw"), { file: "../ä/base.img", format: "raw" });
    t.strictSame(backing("x".repeat(1023), "qcow2"), { file: "x".repeat(1023), format: "qcow2" });
    t.throws(() => backing("x".repeat(1024)), { code: "bad-length" });
    t.throws(() => backing("base", "vmdk"), { code: "unsupported", message: /vmdk/ });
    t.throws(() => backing("base", "r\0w"), { code: "bad-value" });
    t.throws(() => backing("a\0b", "raw"), { code: "bad-value" });
  }
  const notUtf8 = headerAfter(
    (bytes) => {
      bytes[120] = 0xff;
    },
    { ...SHAPE, backing: { file: "base" } },
  );
  t.throws(notUtf8, { code: "bad-value", offset: 120 });
});

t.test("each field that cannot be right is refused, with its position", async (t) => {
  const cases: [string, (bytes: Uint8Array) => unknown, string, number][] = [
    ["magic", (b) => writeBe32(b, 0, 1), "bad-magic", 0],
    ["version 1", (b) => writeBe32(b, 4, 1), "bad-version", 4],
    ["version 4", (b) => writeBe32(b, 4, 4), "bad-version", 4],
    ["clusters of 256 bytes", (b) => writeBe32(b, 20, 8), "bad-value", 20],
    ["clusters of 4 MiB", (b) => writeBe32(b, 20, 22), "bad-value", 20],
    ["a disk above the limit", (b) => writeBe64(b, 24, qcow2Limits.diskBytes + 1), "bad-length", 24],
    ["a disk of 2^64 - 1 bytes", (b) => b.fill(0xff, 24, 32), "bad-length", 24],
    ["encryption", (b) => writeBe32(b, 32, 2), "unsupported", 32],
    ["no L1 entries", (b) => writeBe32(b, 36, 0), "bad-length", 36],
    ["more L1 entries than the limit", (b) => writeBe32(b, 36, qcow2Limits.l1Entries + 1), "bad-length", 36],
    ["more L1 entries than the file has", (b) => writeBe32(b, 36, 1 << 20), "truncated", 40],
    ["an L1 table in the middle of a cluster", (b) => writeBe64(b, 40, 4104), "bad-value", 40],
    ["an L1 table beyond the end", (b) => writeBe64(b, 40, 2 ** 50), "truncated", 40],
    ["the corrupt bit", (b) => writeBe64(b, 72, 2), "bad-value", 72],
    ["an external data file", (b) => writeBe64(b, 72, 4), "unsupported", 72],
    ["incompatible bit 5", (b) => writeBe64(b, 72, 32), "unsupported", 72],
    ["incompatible bit 52", (b) => writeBe64(b, 72, 2 ** 52), "unsupported", 72],
    ["extended entries in small clusters", (b) => writeBe64(b, 72, 16), "bad-value", 20],
    ["a header of 96 bytes", (b) => writeBe32(b, 100, 96), "bad-length", 100],
    ["a header of 105 bytes", (b) => writeBe32(b, 100, 105), "bad-length", 100],
    ["a header above the cluster", (b) => writeBe32(b, 100, 4104), "bad-length", 100],
    ["a compression type without its bit", (b) => b.fill(1, 104, 105), "bad-value", 104],
    ["the compression bit without a type", (b) => writeBe64(b, 72, 8), "bad-value", 104],
    ["an extension beyond the cluster", (b) => writeBe32(b, writeBe32(b, 112, 7), 4000), "bad-length", 112],
    ["a backing name in the header", (b) => writeBe32(b, writeBe64(b, 8, 100), 4), "bad-value", 8],
    ["a backing name beyond the cluster", (b) => writeBe32(b, writeBe64(b, 8, 4094), 4), "bad-value", 8],
    ["an empty backing name", (b) => writeBe32(b, writeBe64(b, 8, 200), 0), "bad-length", 16],
  ];
  for (const [name, change, code, offset] of cases) {
    t.throws(headerAfter(change), { name: "FormatError", code, offset }, name);
  }
});

t.test("a header whose refcounts may be wrong, and features that matter to writers, are read", async (t) => {
  const change = (bytes: Uint8Array) => {
    writeBe64(bytes, 72, 1);
    bytes.fill(0xff, 80, 96);
  };
  t.equal(headerAfter(change)().diskBytes, 9000);
});

t.test("fields that a later version adds are skipped", async (t) => {
  const change = (bytes: Uint8Array) => {
    writeBe32(bytes, 100, 128);
    bytes.fill(7, 112, 128);
  };
  t.equal(headerAfter(change)().diskBytes, 9000);
});

t.test("zstd is refused unless a decompressor is given; other compression types always", async (t) => {
  const { bytes } = buildQcow2(SHAPE);
  writeBe64(bytes, 72, 8);
  bytes[104] = 1;
  t.throws(() => openImage(new MemorySource(bytes), "qcow2"), { code: "unsupported", message: /zstd/ });
  const decompressZstd = () => new Uint8Array(4096);
  t.equal(openImage(new MemorySource(bytes), "qcow2", { decompressZstd }).lengthBytes, 9000);
  bytes[104] = 2;
  t.throws(() => openImage(new MemorySource(bytes), "qcow2", { decompressZstd }), { code: "unsupported" });
});

t.test("a header that ends early is truncated", async (t) => {
  const { bytes } = buildQcow2(SHAPE);
  for (let length = 0; length < 112; length++) {
    const source = new MemorySource(bytes.subarray(0, length));
    t.throws(() => readQcow2Header(source), { name: "FormatError" }, `${length} bytes`);
  }
});

t.test("the format is told by qcow2's magic", async (t) => {
  t.equal(probeFormat(new MemorySource(buildQcow2(SHAPE).bytes)), "qcow2");
  t.equal(probeFormat(new MemorySource(new Uint8Array(512))), "raw");
  t.equal(probeFormat(new MemorySource(Uint8Array.of(0x51, 0x46, 0x49))), "raw");
});

import t from "tap";
import { openImage } from "../../src/disk/open-image.ts";
import { writeBe32, writeBe64 } from "../../src/qemu-stream/big-endian.ts";
import { MemorySource } from "./memory-source.ts";
import { type BuiltImage, buildQcow2, type ImageShape } from "./qcow2-builder.ts";

const PLAIN: ImageShape = {
  version: 3,
  clusterBits: 14,
  extended: false,
  diskBytes: 4 << 14,
  clusters: [{ kind: "data" }, { kind: "zero-allocated" }, { kind: "compressed" }, { kind: "absent" }],
  seed: 3,
};

/** Where entry `i` of the first L2 table is. */
const entryAt = (built: BuiltImage, i: number, bytes = 8) => built.l2At[0] + i * bytes;

/** Changes an image, then asks for the status of cluster `i`. */
function statusAfter(shape: ImageShape, i: number, change: (bytes: Uint8Array, built: BuiltImage) => void) {
  const built = buildQcow2(shape);
  change(built.bytes, built);
  return () => openImage(new MemorySource(built.bytes), "qcow2").status(i << 14, 1 << 14);
}

t.test("reserved bits of entries must be zero", async (t) => {
  const cases: [string, ImageShape, number, number, number][] = [
    ["bit 1 of a standard entry", PLAIN, 0, 7, 0x02],
    ["bit 13 of a standard entry, below the cluster's size", PLAIN, 0, 6, 0x20],
    ["bit 56 of a standard entry", PLAIN, 0, 0, 0x01],
    ["bit 61 of a standard entry", PLAIN, 0, 0, 0x20],
    ["bit 63 of an entry without a cluster", PLAIN, 3, 0, 0x80],
    ["bit 63 of a compressed entry", PLAIN, 2, 0, 0x80],
    ["bit 0 in version 2", { ...PLAIN, version: 2, clusters: [{ kind: "data" }] }, 0, 7, 0x01],
  ];
  for (const [name, shape, i, byte, bits] of cases) {
    const ask = statusAfter(shape, i, (bytes, built) => {
      bytes[entryAt(built, i) + byte] |= bits;
    });
    t.throws(ask, { name: "FormatError", code: "bad-value" }, name);
  }
});

t.test("an entry whose bytes do not lie in the file is refused", async (t) => {
  for (const [name, i, value] of [
    ["a standard cluster beyond the end", 0, 1n << 40n],
    ["a standard cluster beyond 2^53", 0, 1n << 55n],
    ["a compressed cluster beyond the end", 2, (1n << 62n) | (1n << 40n)],
  ] as const) {
    const ask = statusAfter(PLAIN, i, (bytes, built) => {
      const at = entryAt(built, i);
      writeBe32(bytes, writeBe32(bytes, at, Number(value >> 32n)), Number(value & 0xffffffffn));
    });
    t.throws(ask, { name: "FormatError", code: "truncated" }, name);
  }
});

t.test("the last cluster needs only what the disk has of it", async (t) => {
  const clusters = [{ kind: "data" }] as const;
  const { bytes } = buildQcow2({ ...PLAIN, clusters, diskBytes: 5000 });
  const cut = bytes.subarray(0, bytes.length - (1 << 14) + 5000);
  const whole = openImage(new MemorySource(cut), "qcow2");
  t.strictSame(whole.status(0, 5000), { kind: "data", lengthBytes: 5000 });
  const short = openImage(new MemorySource(cut.subarray(0, -1)), "qcow2");
  t.throws(() => short.status(0, 5000), { code: "truncated" });
  t.strictSame(short.status(0, 4999), { kind: "data", lengthBytes: 4999 });
});

t.test("contradictions of extended entries are refused", async (t) => {
  const extended: ImageShape = { ...PLAIN, extended: true };
  const cases: [string, number, number, number][] = [
    ["a subcluster both allocated and zero", 0, 11, 0x01],
    ["a subcluster allocated in no cluster", 3, 15, 0x01],
    ["subclusters of a compressed cluster", 2, 15, 0x01],
    ["bit 0", 0, 7, 0x01],
  ];
  for (const [name, i, byte, bits] of cases) {
    const ask = statusAfter(extended, i, (bytes, built) => {
      bytes[entryAt(built, i, 16) + byte] |= bits;
    });
    t.throws(ask, { name: "FormatError", code: "bad-value" }, name);
  }
});

t.test("a bad L1 entry is refused when the image is opened", async (t) => {
  for (const [name, byte, bits, code] of [
    ["reserved bit 0", 7, 0x01, "bad-value"],
    ["reserved bit 62", 0, 0x40, "bad-value"],
    ["offset within a cluster", 6, 0x02, "bad-value"],
    ["offset beyond the end", 2, 0x01, "truncated"],
  ] as const) {
    const ask = statusAfter(PLAIN, 0, (bytes, built) => {
      bytes[built.l1At + byte] |= bits;
    });
    t.throws(ask, { name: "FormatError", code }, name);
  }
});

t.test("an L1 table that names one L2 table more often than the file has clusters is refused", async (t) => {
  const { bytes, l1At, l2At } = buildQcow2({ ...PLAIN, clusterBits: 9, diskBytes: 2048 });
  const entries = 64;
  const grown = new Uint8Array(bytes.length + entries * 8);
  grown.set(bytes);
  const table = Math.ceil(bytes.length / 512) * 512;
  writeBe64(grown, 24, entries * 64 * 512);
  writeBe64(grown, writeBe32(grown, 36, entries), table);
  const whole = new Uint8Array(table + entries * 8);
  whole.set(grown.subarray(0, table));
  for (let i = 0; i < entries; i++) writeBe64(whole, table + i * 8, l2At[0]);
  t.ok(l1At > 0);
  t.throws(() => openImage(new MemorySource(whole), "qcow2"), { code: "bad-value", message: /do not fit/ });
});

import t from "tap";
import { loadCore } from "../../src/core.ts";
import { noRecords } from "../../src/delta/vocabulary.ts";
import { FormatError } from "../../src/errors.ts";
import {
  decodeManifest,
  encodeManifest,
  type Manifest,
  maxManifestBytes,
} from "../../src/generation/manifest.ts";

const core = await loadCore();
const digest = (byte: string) => byte.repeat(32);
const full: Manifest = {
  format: 1,
  vm: "web1",
  generation: 3,
  root: digest("0a"),
  epoch: 5,
  from: "a",
  to: "b",
  createdAt: "2024-01-01T00:00:00.000Z",
  machine: "pc-i440fx-7.2",
  accelerator: "tcg",
  base: null,
  regions: [{ name: "pc.ram", kind: "ram", lengthBytes: 8192 }],
  deviceBytes: 12,
  deviceDigest: digest("1b"),
  records: { ...noRecords(), raw: 2 },
  files: {
    "ram.img": { bytes: 8192 },
    digests: { bytes: 32 },
    device: { bytes: 60, digest: digest("2c") },
  },
};
const delta: Manifest = {
  ...full,
  base: { generation: 2, root: digest("3d") },
  files: { ...full.files, delta: { bytes: 400, digest: digest("4e") } },
};
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const bytesOf = (value: string) => new TextEncoder().encode(value);

/** A manifest file with a right digest over whatever is in it. */
function signed(manifest: unknown): Uint8Array {
  const inner = JSON.stringify(manifest);
  const sum = Buffer.from(core.blake3(bytesOf(inner))).toString("hex");
  return bytesOf(`{"manifest":${inner},"digest":"${sum}"}\n`);
}

t.test("a manifest comes back, complete or on a base", async (t) => {
  for (const manifest of [full, delta])
    t.strictSame(decodeManifest(core, encodeManifest(core, manifest)), manifest);
});

t.test(
  "the form does not depend on the order of fields, and drops what the format does not have",
  async (t) => {
    const shuffled = Object.fromEntries(Object.entries(delta).reverse()) as unknown as Manifest;
    const more = {
      ...shuffled,
      note: 1,
      regions: [{ ...full.regions[0], firstPage: 0 }],
    } as unknown as Manifest;
    t.equal(text(encodeManifest(core, more)), text(encodeManifest(core, delta)));
  },
);

t.test("every flipped bit and every truncation is refused with a FormatError", async (t) => {
  const bytes = encodeManifest(core, delta);
  const accepted: string[] = [];
  const expectRefusal = (damaged: Uint8Array, what: string) => {
    try {
      decodeManifest(core, damaged);
      accepted.push(what);
    } catch (error) {
      if (!(error instanceof FormatError)) accepted.push(`${what}: ${error}`);
    }
  };
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const damaged = bytes.slice();
    damaged[bit >> 3] ^= 1 << (bit & 7);
    expectRefusal(damaged, `bit ${bit}`);
  }
  for (let length = 0; length < bytes.length; length++)
    expectRefusal(bytes.slice(0, length), `${length} bytes`);
  t.strictSame(accepted, []);
});

t.test("another form of the same content is refused", async (t) => {
  const bytes = encodeManifest(core, full);
  t.throws(() => decodeManifest(core, bytesOf(`${text(bytes)}\n`)), { code: "bad-checksum" });
  t.throws(
    () => decodeManifest(core, bytesOf(text(bytes).replace('{"manifest"', '{ "manifest"'))),
    FormatError,
  );
  t.throws(() => decodeManifest(core, signed({ ...full, extra: 1 })), { code: "bad-checksum" });
  const { root, ...rest } = full;
  t.throws(() => decodeManifest(core, signed({ ...rest, root })), { code: "bad-checksum" });
});

t.test("values that make no sense are refused although the digest is right", async (t) => {
  t.strictSame(decodeManifest(core, signed(full)), full, "the digest made here is right");
  const { "ram.img": image, ...noImage } = full.files;
  const bad: Record<string, unknown>[] = [
    { format: 2 },
    { vm: 7 },
    { vm: "x".repeat(256) },
    { generation: 0 },
    { generation: 1.5 },
    { generation: 2 ** 53 },
    { epoch: 0 },
    { root: digest("0A") },
    { root: "00" },
    { root: null },
    { base: { generation: 3, root: digest("3d") } },
    { base: { generation: 2, root: "3d" } },
    { base: 2 },
    { base: undefined },
    { regions: [] },
    { regions: {} },
    { regions: [{ name: "pc.ram", kind: "disk", lengthBytes: 8192 }] },
    { regions: [{ name: "pc.ram", kind: "ram", lengthBytes: 8191 }] },
    { regions: [{ name: "pc.ram", kind: "ram", lengthBytes: -4096 }] },
    { regions: [...full.regions, ...full.regions] },
    { regions: [null] },
    { deviceBytes: -1 },
    { deviceDigest: 1 },
    { records: { ...noRecords(), raw: -1 } },
    { records: {} },
    { files: noImage },
    { files: [] },
    { files: { ...noImage, "ram.img": { ...image, digest: "00" } } },
    { files: { ...noImage, "ram.img": { bytes: -1 } } },
    { base: delta.base },
  ];
  for (const change of bad) {
    t.throws(
      () => decodeManifest(core, signed({ ...full, ...change })),
      FormatError,
      JSON.stringify(change).slice(0, 60),
    );
  }
});

t.test("what is no manifest at all is refused", async (t) => {
  for (const content of ["", "{}", "null", "[]", "7", '{"manifest":null,"digest":""}', "\ufeff{}", "["]) {
    t.throws(() => decodeManifest(core, bytesOf(content)), FormatError, content);
  }
  t.throws(() => decodeManifest(core, Uint8Array.of(0xff, 0xfe)), FormatError);
  t.throws(() => decodeManifest(core, new Uint8Array(maxManifestBytes + 1)), { code: "bad-length" });
});

import t from "tap";
import { loadCore } from "../../src/core.ts";
import { noRecords } from "../../src/delta/vocabulary.ts";
import { FormatError } from "../../src/errors.ts";
import {
  decodeManifest,
  encodeManifest,
  isSeed,
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
  disks: [],
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
const disk0 = { name: "disk0", lengthBytes: 2 ** 30 + 512, image: "disk0-0123abcd" };
const disk1 = { name: "log-1", lengthBytes: 512, image: "log-1-00000000" };
const withDisks: Manifest = { ...delta, format: 2, disks: [disk0, disk1] };
const seed: Manifest = { ...withDisks, format: 3, seed: true, deviceBytes: 0 };
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const bytesOf = (value: string) => new TextEncoder().encode(value);

/** The fields as they stand in a file: format 1 has no field for disks. */
function inFile(manifest: Manifest): Record<string, unknown> {
  const { disks, ...rest } = manifest;
  return manifest.format === 1 ? rest : JSON.parse(text(encodeManifest(core, manifest))).manifest;
}

/** A manifest file with a right digest over whatever is in it. */
function signed(manifest: unknown): Uint8Array {
  const inner = JSON.stringify(manifest);
  const sum = Buffer.from(core.blake3(bytesOf(inner))).toString("hex");
  return bytesOf(`{"manifest":${inner},"digest":"${sum}"}\n`);
}

t.test("a manifest comes back, complete or on a base, with and without disks", async (t) => {
  for (const manifest of [
    full,
    delta,
    withDisks,
    seed,
    { ...seed, disks: [] },
    { ...full, format: 2, disks: [disk1] } as const,
  ])
    t.strictSame(decodeManifest(core, encodeManifest(core, manifest)), manifest);
});

t.test("a seed says so, has no device state, and is nothing else", async (t) => {
  t.ok(isSeed(seed));
  t.notOk(isSeed(withDisks));
  t.match(text(encodeManifest(core, seed)), /"disks":\[[^\]]*\],"seed":true,"deviceBytes":0,/);
  const refused = (manifest: unknown, field: string) =>
    t.throws(() => decodeManifest(core, signed(manifest)), {
      message: new RegExp(`${field} is missing or not`),
    });
  const { seed: _seed, ...unsaid } = inFile(seed);
  refused(unsaid, "seed");
  refused({ ...inFile(seed), seed: false }, "seed");
  refused({ ...inFile(seed), deviceBytes: 12 }, "deviceBytes");
  t.throws(() => decodeManifest(core, signed({ ...inFile(withDisks), seed: true })), FormatError);
});

t.test("a manifest without disks has the bytes that format 1 always had", async (t) => {
  const written = text(encodeManifest(core, full));
  t.match(written, /"regions":\[[^\]]*\],"deviceBytes":12,/, "there is no field for disks");
  // As programs that knew no disks wrote them.
  const known = [
    [full, "beb439d4b6b5d66b5c1cabdab364615f156bf1b6540cf36a1b014ffa5971ed67"],
    [delta, "e02075d0600b65f8a92139e51e6763d455560eabd248afc49d0e426f3838e08d"],
  ] as const;
  for (const [manifest, sum] of known) {
    t.equal(JSON.parse(text(encodeManifest(core, manifest))).digest, sum);
  }
});

t.test("the field of disks stands after that of regions, with what the format has of each", async (t) => {
  const { name, lengthBytes, image } = disk0;
  const more = { ...withDisks, disks: [{ firstPage: 2, image, lengthBytes, name }, disk1] };
  const bytes = encodeManifest(core, more);
  t.equal(text(bytes), text(encodeManifest(core, withDisks)));
  const disks = `,"disks":${JSON.stringify([disk0, disk1])},"deviceBytes"`;
  t.ok(text(bytes).includes(disks));
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
  const bytes = encodeManifest(core, withDisks);
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
  t.throws(() => decodeManifest(core, signed({ ...inFile(full), extra: 1 })), { code: "bad-checksum" });
  const { root, ...rest } = inFile(full);
  t.throws(() => decodeManifest(core, signed({ ...rest, root })), { code: "bad-checksum" });
});

t.test("values that make no sense are refused although the digest is right", async (t) => {
  t.strictSame(decodeManifest(core, signed(inFile(full))), full, "the digest made here is right");
  const { "ram.img": image, ...noImage } = full.files;
  const bad: Record<string, unknown>[] = [
    { format: 0 },
    { format: 3 },
    { format: "1" },
    { disks: [] },
    { disks: [disk0] },
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
      () => decodeManifest(core, signed({ ...inFile(full), ...change })),
      FormatError,
      JSON.stringify(change).slice(0, 60),
    );
  }
});

t.test("disks that make no sense are refused although the digest is right", async (t) => {
  const fields = inFile(withDisks);
  t.strictSame(decodeManifest(core, signed(fields)), withDisks);
  const many = Array.from({ length: 33 }, (_, i) => ({ ...disk0, name: `d${i}` }));
  t.doesNotThrow(() => decodeManifest(core, signed({ ...fields, disks: many.slice(1) })));
  const bad: unknown[] = [
    undefined,
    null,
    {},
    "disk0",
    [],
    [null],
    [[]],
    many,
    [disk0, { ...disk1, name: "disk0" }],
    ...["", "Disk0", "0disk", "disk_0", "disk0\n", "d/0", "a".repeat(16), null, 7].map((name) => [
      { ...disk0, name },
    ]),
    ...[0, -512, 511, 513, 512.5, 2 ** 44 + 512, 2 ** 53, "512", null].map((lengthBytes) => [
      { ...disk0, lengthBytes },
    ]),
    ...[
      "",
      "disk0",
      "disk0-0123abc",
      "disk0-0123ABCD",
      "../disk0-0123abcd",
      "disk0-0123abcd.json",
      7,
      null,
    ].map((image) => [{ ...disk0, image }]),
    [{ name: "disk0", lengthBytes: 512 }],
    [{ ...disk0, more: 1 }],
  ];
  for (const disks of bad) {
    const what = JSON.stringify(disks)?.slice(0, 80) ?? "no field";
    t.throws(() => decodeManifest(core, signed({ ...fields, disks })), FormatError, what);
  }
  const { disks, ...without } = fields;
  t.throws(() => decodeManifest(core, signed({ ...without, disks })), FormatError, "at another place");
  t.throws(() => decodeManifest(core, signed({ ...fields, format: 1 })), FormatError, "disks in format 1");
  t.throws(() => decodeManifest(core, signed({ ...without, format: 2 })), {
    code: "bad-value",
    message: /disks is missing or not valid/,
  });
});

t.test("what is no manifest at all is refused", async (t) => {
  for (const content of ["", "{}", "null", "[]", "7", '{"manifest":null,"digest":""}', "\ufeff{}", "["]) {
    t.throws(() => decodeManifest(core, bytesOf(content)), FormatError, content);
  }
  t.throws(() => decodeManifest(core, Uint8Array.of(0xff, 0xfe)), FormatError);
  t.throws(() => decodeManifest(core, new Uint8Array(maxManifestBytes + 1)), { code: "bad-length" });
});

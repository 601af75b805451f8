/** Holds the tables of docs/FORMAT.md against the code. */

import { readFileSync } from "node:fs";
import t from "tap";
import { maxChainImages } from "../../cli/disk/image-store.ts";
import { loadCore } from "../../src/core.ts";
import { sealFrame } from "../../src/delta/frame.ts";
import {
  FrameCodec,
  FrameKind,
  frameHeaderBytes,
  frameLimits,
  frameMagic,
  maxPagesPayloadBytes,
  noRecords,
  pageBytes,
  RecordKind,
} from "../../src/delta/vocabulary.ts";
import { digestBytes } from "../../src/generation/digest-tree.ts";
import { diskLimits } from "../../src/generation/disks.ts";
import { geometryLimits } from "../../src/generation/geometry.ts";
import {
  encodeManifest,
  generationFileNames,
  type Manifest,
  manifestFormats,
  maxManifestBytes,
} from "../../src/generation/manifest.ts";

const doc = readFileSync("docs/FORMAT.md", "utf8");
const core = await loadCore();

/** Rows of the table whose first column has this heading, as cells without code marks. */
function table(heading: string): string[][] {
  const lines = doc.split("\n");
  const from = lines.findIndex((line) => line.startsWith(`| ${heading} |`));
  if (from < 0) throw new Error(`no table with heading ${heading}`);
  const rows = lines.slice(from + 2);
  return rows
    .slice(
      0,
      rows.findIndex((line) => !line.startsWith("|")),
    )
    .map((line) =>
      line
        .split("|")
        .slice(1, -1)
        .map((cell) => cell.trim().replaceAll("`", "")),
    );
}

const numbered = (heading: string) =>
  Object.fromEntries(table(heading).map(([number, name]) => [name, Number(number)]));

t.test("kinds, codecs and records have the numbers of the code", async (t) => {
  t.strictSame(numbered("kind"), { ...FrameKind });
  t.strictSame(numbered("codec"), { ...FrameCodec });
  t.strictSame(numbered("record"), { ...RecordKind });
});

t.test("limits have the values of the code, and none is left out", async (t) => {
  const values: Record<string, number> = { maxPagesPayloadBytes, maxManifestBytes, maxChainImages };
  for (const [name, value] of Object.entries(frameLimits)) values[`frameLimits.${name}`] = value;
  for (const [name, value] of Object.entries(geometryLimits)) values[`geometryLimits.${name}`] = value;
  for (const name of ["disks", "nameCharacters", "lengthBytes"] as const) {
    values[`diskLimits.${name}`] = diskLimits[name];
  }
  t.strictSame(Object.fromEntries(table("limit").map(([, value, name]) => [name, Number(value)])), values);
});

t.test("a frame has its fields at the offsets of the table", async (t) => {
  const rows = table("offset");
  let end = 0;
  for (const [offset, bytes, field] of rows) {
    t.equal(Number(offset), end, field);
    end += Number(bytes);
  }
  t.equal(end, frameHeaderBytes);
  t.match(doc, `The header has ${frameHeaderBytes} bytes`);
  const columns = new Uint8Array(5000);
  const whole = new Uint8Array(10).fill(1);
  const frame = sealFrame(
    core,
    { kind: FrameKind.pages, region: 3, sequence: 77, records: 5 },
    columns,
    whole,
  );
  const view = new DataView(frame.buffer);
  const field = (name: string) => {
    const [offset, bytes] = rows.find(([, , field]) => field === name) as string[];
    if (bytes === "1") return view.getUint8(Number(offset));
    return bytes === "2" ? view.getUint16(Number(offset), true) : view.getUint32(Number(offset), true);
  };
  t.equal(field("magic"), frameMagic);
  t.equal(new TextDecoder().decode(frame.subarray(0, 4)), "BFF1");
  t.equal(field("kind"), FrameKind.pages);
  t.equal(field("codec"), FrameCodec.lz4);
  t.equal(field("region"), 3);
  t.equal(field("sequence"), 77);
  t.equal(field("payload bytes"), frame.length - frameHeaderBytes);
  t.equal(field("columns bytes"), frame.length - frameHeaderBytes - whole.length);
  t.equal(field("plain bytes"), columns.length);
  t.equal(field("records"), 5);
  t.equal(field("reserved"), 0);
  const checksum = frame.slice(32, 48);
  frame.fill(0, 32, 48);
  t.strictSame(checksum, core.blake3(frame).slice(0, 16), "the checksum is made as the table says");
});

t.test(
  "a manifest has the fields of the table, in their order, and its digest is made as the text says",
  async (t) => {
    const digest = "ab".repeat(32);
    const manifest: Manifest = {
      // A seed has all fields that there are.
      format: 3,
      vm: "web1",
      generation: 2,
      root: digest,
      epoch: 1,
      from: "a",
      to: "b",
      createdAt: "2024-01-01T00:00:00.000Z",
      machine: "pc",
      accelerator: "tcg",
      base: { generation: 1, root: digest },
      regions: [{ name: "pc.ram", kind: "ram", lengthBytes: pageBytes }],
      disks: [{ name: "disk0", lengthBytes: 512, image: "disk0-00000000" }],
      seed: true,
      deviceBytes: 0,
      deviceDigest: digest,
      records: noRecords(),
      files: {
        "ram.img": { bytes: 1 },
        digests: { bytes: 1 },
        device: { bytes: 1, digest },
        delta: { bytes: 1, digest },
      },
    };
    const text = new TextDecoder().decode(encodeManifest(core, manifest));
    const parsed = JSON.parse(text);
    const rows = table("field");
    t.strictSame(
      Object.keys(parsed.manifest),
      rows.map(([name]) => name),
    );
    t.equal(rows.find(([name]) => name === "format")?.[1], manifestFormats.join(" or "));
    t.ok(rows.find(([name]) => name === "files")?.[2].endsWith(generationFileNames.join(", ")));
    t.match(text, /^\{"manifest":\{.*\},"digest":"[0-9a-f]{64}"\}\n$/);
    const inner = JSON.stringify(parsed.manifest);
    t.equal(parsed.digest, Buffer.from(core.blake3(new TextEncoder().encode(inner))).toString("hex"));
  },
);

t.test("sizes in the text are those of the code", async (t) => {
  t.match(doc, `| page | ${pageBytes} bytes of a region |`);
  t.match(doc, `${digestBytes} bytes for each page, in the order of the page space`);
  for (const name of Object.keys(noRecords())) t.match(doc, `"${name}"`);
});

/** Whole files: manifests, digests of disks, and whatever `verify` and `inspect` are given. */

import { statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { inspectFile } from "../../../cli/inspect/inspect.ts";
import { DigestFile } from "../../../cli/store/digest-file.ts";
import { checkLooseFile } from "../../../cli/verify/loose-file.ts";
import { FindingLog } from "../../../cli/verify/report.ts";
import { toHex } from "../../../src/bytes.ts";
import { type Core, loadCore } from "../../../src/core.ts";
import { noRecords } from "../../../src/delta/vocabulary.ts";
import { BlockDigests } from "../../../src/generation/block-digests.ts";
import { digestBytes } from "../../../src/generation/digest-tree.ts";
import { decodeManifest, encodeManifest, type Manifest } from "../../../src/generation/manifest.ts";
import { noise } from "../../core/placing.ts";
import { smallStream } from "../../qemu-stream/events.ts";
import { mutateBytes } from "../mutate-bytes.ts";
import { mutateFrames } from "../mutate-frames.ts";
import { mutateJson, mutateValue } from "../mutate-text.ts";
import type { Random } from "../random.ts";
import { bucket, demand, type Target, textOf, utf8 } from "../target.ts";
import { delta, deviceRuns } from "./frame-seeds.ts";
import { workFolder } from "./work-folder.ts";

const hex = (byte: string) => byte.repeat(32);
const full: Manifest = {
  format: 1,
  vm: "web1",
  generation: 3,
  root: hex("0a"),
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
  deviceDigest: hex("1b"),
  records: { ...noRecords(), raw: 2 },
  files: { "ram.img": { bytes: 8192 }, digests: { bytes: 32 }, device: { bytes: 60, digest: hex("2c") } },
};
const onBase: Manifest = {
  ...full,
  format: 2,
  base: { generation: 2, root: hex("3d") },
  disks: [{ name: "disk0", lengthBytes: 2 ** 30 + 512, image: "disk0-0123abcd" }],
  files: { ...full.files, delta: { bytes: 400, digest: hex("4e") } },
};

/** Manifests whose digest fits what was changed. */
export async function manifest(): Promise<Target> {
  const core = await loadCore();
  return {
    name: "manifest",
    core,
    seeds: [encodeManifest(core, full), encodeManifest(core, onBase)],
    mutate: (input, other, random) => mutateManifest(core, input, other, random),
    run: (input) => {
      const decoded = decodeManifest(core, input);
      demand(Buffer.compare(encodeManifest(core, decoded), input) === 0, "encoded again it is another file");
      const lengths = [...decoded.regions, ...decoded.disks].map(({ lengthBytes }) => lengthBytes);
      demand(
        lengths.every((length) => Number.isSafeInteger(length)),
        "a length is no number",
      );
      return `manifest ${decoded.format} ${decoded.disks.length} ${decoded.base === null}`;
    },
  };
}

function mutateManifest(core: Core, input: Uint8Array, other: Uint8Array, random: Random): Uint8Array {
  if (random.oneIn(8)) return mutateJson(input, other, random);
  try {
    const inner = (JSON.parse(textOf(input)) as { manifest: unknown }).manifest;
    const text = JSON.stringify(mutateValue(inner, inner, random));
    return utf8(`{"manifest":${text},"digest":"${toHex(core.blake3(utf8(text)))}"}\n`);
  } catch {
    return mutateBytes(input, other, random);
  }
}

/** The file of a disk's digests: nodes are checked, and walks end. */
export async function blockDigests(): Promise<Target> {
  const core = await loadCore();
  const folder = workFolder();
  const path = join(folder, "disk.digests");
  const blocks = 300;
  const key = noise(32, 4);
  const made = DigestFile.create(join(folder, "seed"), blocks);
  const digests = new BlockDigests(core, key, blocks, [made]);
  for (const block of [0, 1, 70, 299]) digests.set(block, noise(digestBytes, block + 1), 0);
  digests.flush();
  const seed = new Uint8Array(8 * 4096);
  made.read(seed, 0);
  made.close();
  digests.release();
  const { size } = statSync(join(folder, "seed"));
  return {
    name: "block-digests",
    core,
    seeds: [seed.slice(0, size)],
    // The length is fixed by the disk's size, so mutants keep it.
    mutate: (input, other, random) => {
      const mutant = mutateBytes(input, other, random, { hotBytes: 1200 });
      if (random.oneIn(20)) return mutant;
      const same = new Uint8Array(size);
      same.set(mutant.subarray(0, same.length));
      return same;
    },
    run: (input) => {
      writeFileSync(path, input);
      const file = DigestFile.open(path, blocks, { writable: false });
      const read = new BlockDigests(core, key, blocks, [file], { writable: false });
      try {
        const isGood = read.checkNodes();
        let found = 0;
        for (const { block, count } of read.nonZeroRuns()) {
          demand(block >= 0 && count > 0 && block + count <= blocks, "a run lies outside of the disk");
          found += count;
        }
        return `${isGood} ${bucket(found)}`;
      } finally {
        read.release();
        file.close();
      }
    },
  };
}

/** `verify` on a single file. */
export async function verifyFile(): Promise<Target> {
  const core = await loadCore({ initialBytes: 48 << 20 });
  const folder = workFolder();
  const path = join(folder, "delta");
  return {
    name: "verify-file",
    core,
    seeds: [delta(core), ...deviceRuns(core), encodeManifest(core, onBase)],
    mutate: (input, other, random) => mutateFile(core, input, other, random),
    run: async (input) => {
      writeFileSync(path, input);
      const log = new FindingLog();
      await checkLooseFile(core, log, path);
      const shapes = log.findings.map(({ problem }) => problem.replace(/"[^"]*"|\d+/g, "0").slice(0, 80));
      return `findings ${shapes.join("; ")}`;
    },
  };
}

/** `inspect` on a single file. */
export async function inspectLooseFile(): Promise<Target> {
  const core = await loadCore({ initialBytes: 48 << 20 });
  const folder = workFolder();
  const path = join(folder, "some-file");
  return {
    name: "inspect-file",
    core,
    seeds: [delta(core), ...deviceRuns(core), encodeManifest(core, full), smallStream()],
    mutate: (input, other, random) => mutateFile(core, input, other, random),
    run: async (input) => {
      writeFileSync(path, input);
      let frames = 0;
      const found = await inspectFile(core, path, () => frames++);
      return `${found.kind} ${bucket(frames)}`;
    },
  };
}

function mutateFile(core: Core, input: Uint8Array, other: Uint8Array, random: Random): Uint8Array {
  if (input[0] === 0x42) return mutateFrames(core, input, other, random);
  if (input[0] === 0x7b) return mutateManifest(core, input, other, random);
  return mutateBytes(input, other, random, { bigEndian: true, hotBytes: 240 });
}

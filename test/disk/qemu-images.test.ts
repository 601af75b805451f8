import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { openFileSource } from "../../cli/disk/file-source.ts";
import type { ImageFormat } from "../../src/disk/disk-image.ts";
import { ImageChain } from "../../src/disk/image-chain.ts";
import { openImage, probeFormat } from "../../src/disk/open-image.ts";
import { countedSource } from "./memory-source.ts";
import {
  contentByQemu,
  createImage,
  dataBlocksByQemu,
  missingPrograms,
  openChain,
  qemuImg,
  qemuIo,
  randomCommands,
} from "./qemu-images.ts";

const BLOCK = 4096;
const MIB = 1 << 20;

/** One image of a chain. */
interface Level {
  readonly format: ImageFormat;
  readonly size: number;
  readonly options?: string;
}

/** Chains, oldest image first. */
const CHAINS: Record<string, readonly Level[]> = {
  "a raw image": [{ format: "raw", size: 3 * MIB + 512 }],
  "qcow2 version 2": [{ format: "qcow2", size: 8 * MIB, options: "compat=0.10" }],
  "qcow2 version 3": [{ format: "qcow2", size: 8 * MIB + 1536, options: "compat=1.1" }],
  "clusters of 512 bytes": [{ format: "qcow2", size: 5 * MIB + 512, options: "cluster_size=512" }],
  "clusters of 4 KiB": [{ format: "qcow2", size: 5 * MIB + 512, options: "cluster_size=4096" }],
  "clusters of 2 MiB": [{ format: "qcow2", size: 21 * MIB + 512, options: "cluster_size=2M" }],
  "extended L2 entries": [
    { format: "qcow2", size: 8 * MIB + 512, options: "extended_l2=on,cluster_size=128k" },
  ],
  "small extended L2 entries": [
    { format: "qcow2", size: 8 * MIB, options: "extended_l2=on,cluster_size=16k" },
  ],
  "lazy refcounts": [{ format: "qcow2", size: 8 * MIB, options: "lazy_refcounts=on" }],
  "preallocated metadata": [{ format: "qcow2", size: 4 * MIB + 512, options: "preallocation=metadata" }],
  "preallocated metadata of extended entries": [
    { format: "qcow2", size: 4 * MIB + 512, options: "preallocation=metadata,extended_l2=on" },
  ],
  "qcow2 on a shorter raw image": [
    { format: "raw", size: 2 * MIB + 512 },
    { format: "qcow2", size: 4 * MIB + 512 },
  ],
  "qcow2 on a longer qcow2 image": [
    { format: "qcow2", size: 6 * MIB },
    { format: "qcow2", size: 4 * MIB + 512 },
  ],
  "four images of different clusters": [
    { format: "raw", size: 5 * MIB },
    { format: "qcow2", size: 3 * MIB + 512, options: "cluster_size=512" },
    { format: "qcow2", size: 5 * MIB + 1024, options: "extended_l2=on,cluster_size=64k" },
    { format: "qcow2", size: 6 * MIB, options: "cluster_size=4096" },
  ],
};

for (const [name, levels] of Object.entries(CHAINS)) {
  t.test(`${name} reads as QEMU reads it`, { skip: missingPrograms }, async (t) => {
    const folder = t.testdir({});
    const files = levels.map(({ format }, i) => `${i}.${format}`);
    for (const [i, { format, size, options }] of levels.entries()) {
      const path = join(folder, files[i]);
      const base = i > 0 ? { file: files[i - 1], format: levels[i - 1].format } : undefined;
      createImage(path, format, size, options ?? "", base);
      qemuIo(path, format, randomCommands(size, 40, 7 * i + name.length));
    }
    const top = levels.length - 1;
    checkChain(t, join(folder, files[top]), levels[top].format, files[0].endsWith(".raw"));
  });
}

t.test("compressed images read as QEMU reads them", { skip: missingPrograms }, async (t) => {
  const folder = t.testdir({});
  const plain = join(folder, "plain.qcow2");
  createImage(plain, "qcow2", 8 * MIB + 512, "");
  qemuIo(plain, "qcow2", randomCommands(8 * MIB + 512, 60, 5));
  for (const options of ["cluster_size=64k", "cluster_size=512", "cluster_size=2M", "extended_l2=on"]) {
    const path = join(folder, `${options}.qcow2`);
    qemuImg("convert", "-c", "-f", "qcow2", "-O", "qcow2", "-o", options, plain, path);
    checkChain(t, path, "qcow2", false);
    // Clusters that are written again stop being compressed, and some lie between those that still are.
    qemuIo(path, "qcow2", randomCommands(8 * MIB + 512, 10, 6));
    checkChain(t, path, "qcow2", false);
  }
});

t.test("an image compressed with zstd is refused", { skip: missingPrograms }, async (t) => {
  const path = join(t.testdir({}), "zstd.qcow2");
  createImage(path, "qcow2", MIB, "compression_type=zstd");
  const source = openFileSource(path);
  t.throws(() => openImage(source, "qcow2"), { code: "unsupported", message: /zstd/ });
  source.close();
});

t.test("images that need more than their own file are refused", { skip: missingPrograms }, async (t) => {
  const folder = t.testdir({});
  const path = join(folder, "external.qcow2");
  createImage(path, "qcow2", MIB, `data_file=${join(folder, "data.raw")}`);
  const encrypted = join(folder, "encrypted.qcow2");
  const secret = ["--object", "secret,id=key,data=0123456789abcdef"];
  // LUKS would measure the processor first, which fails on busy machines.
  const options = "encrypt.format=aes,encrypt.key-secret=key";
  qemuImg("create", "-q", ...secret, "-f", "qcow2", "-o", options, encrypted, "1M");
  for (const file of [path, encrypted]) {
    const source = openFileSource(file);
    t.throws(() => openImage(source, "qcow2"), { code: "unsupported" }, file.slice(folder.length));
    source.close();
  }
});

t.test("internal snapshots and bitmaps do not matter", { skip: missingPrograms }, async (t) => {
  const path = join(t.testdir({}), "disk.qcow2");
  createImage(path, "qcow2", 4 * MIB, "");
  qemuIo(path, "qcow2", randomCommands(4 * MIB, 20, 1));
  qemuImg("snapshot", "-c", "before", path);
  qemuImg("bitmap", "--add", path, "bitmap0");
  qemuIo(path, "qcow2", randomCommands(4 * MIB, 20, 2));
  checkChain(t, path, "qcow2", false);
});

t.test("an image whose writer was killed is read", { skip: missingPrograms }, async (t) => {
  const path = join(t.testdir({}), "dirty.qcow2");
  createImage(path, "qcow2", 4 * MIB, "lazy_refcounts=on");
  // The writer ends by its own signal, as after a loss of power: the dirty bit stays set.
  const args = ["-f", "qcow2", "-c", "write -P 5 0 1M", "-c", "flush", "-c", "sigraise 9", path];
  t.equal(spawnSync("qemu-io", args).signal, "SIGKILL");
  const chain = openChain(path, "qcow2");
  const header = readFileSync(path).subarray(0, 80);
  t.equal(header[79] & 1, 1, "the dirty bit is set");
  const memory = new Uint8Array(MIB);
  chain.readBlocks(memory, 0, 0, 256);
  t.ok(memory.every((byte) => byte === 5));
  t.ok(chain.isKnownZero(256, 768));
  chain.close();
});

t.test("a sparse disk of 1 TiB is opened and walked with few reads", { skip: missingPrograms }, async (t) => {
  const path = join(t.testdir({}), "large.qcow2");
  for (const [options, mostBytes] of [
    ["", MIB],
    ["extended_l2=on", MIB],
    // Two L2 tables of 2 MiB describe the whole disk.
    ["cluster_size=2M", 6 * MIB],
    // Its L1 table has 4 MiB, and is read when the image is opened and again with the walk.
    ["cluster_size=4k", 10 * MIB],
  ] as const) {
    createImage(path, "qcow2", "1T", options);
    const places = [0, 300 * 2 ** 30, 2 ** 39 + 4096, 2 ** 40 - BLOCK];
    qemuIo(
      path,
      "qcow2",
      places.map((at) => `write -q -P 9 ${at} 4096`),
    );
    const source = countedSource(openFileSource(path));
    t.equal(probeFormat(source), "qcow2");
    const image = openImage(source, "qcow2");
    const chain = new ImageChain([image], image.lengthBytes);
    t.equal(chain.blocks, 2 ** 28);
    const memory = new Uint8Array(BLOCK);
    const covered = places.map((at) => {
      chain.readBlocks(memory, 0, at / BLOCK, 1);
      return memory.every((byte) => byte === 9);
    });
    t.strictSame(covered, [true, true, true, true]);
    let blocks = 0;
    for (const { count } of chain.dataRuns()) blocks += count;
    t.ok(blocks >= 4 && blocks <= 4 * 512, `${options || "default"}: ${blocks} blocks in runs`);
    t.ok(chain.isKnownZero(2 ** 20, 2 ** 20), "4 GiB without data");
    t.ok(source.bytesRead <= mostBytes, `${options || "default"}: ${source.bytesRead} bytes read`);
    chain.close();
  }
});

/** Content and runs of data must agree with QEMU's programs. */
function checkChain(t: Test, path: string, format: ImageFormat, hasRaw: boolean): void {
  const expected = contentByQemu(path, format);
  const chain = openChain(path, format);
  t.equal(chain.lengthBytes, expected.length);
  const memory = new Uint8Array(chain.blocks * BLOCK).fill(0xcc);
  chain.readBlocks(memory, 0, 0, chain.blocks);
  t.equal(Buffer.compare(memory.subarray(0, expected.length), expected), 0, "the whole disk at once");
  t.ok(isZero(memory.subarray(expected.length)), "zeroes beyond the end");

  const single = new Uint8Array(BLOCK);
  const mayHaveData = dataBlocksByQemu(path, format, chain.blocks);
  const inRun = new Array<boolean>(chain.blocks).fill(false);
  for (const { block, count } of chain.dataRuns()) inRun.fill(true, block, block + count);
  let different = 0;
  let missed = 0;
  let needless = 0;
  for (let block = 0; block < chain.blocks; block++) {
    const content = memory.subarray(block * BLOCK, (block + 1) * BLOCK);
    chain.readBlocks(single, 0, block, 1);
    if (Buffer.compare(single, content) !== 0) different++;
    if (!inRun[block] && !isZero(content)) missed++;
    if (inRun[block] && !mayHaveData[block]) needless++;
  }
  t.equal(different, 0, "block by block");
  t.equal(missed, 0, "blocks with content outside the runs");
  chain.close();
  // qemu-img also sees the holes of raw files, which we do not.
  if (!hasRaw) t.equal(needless, 0, "blocks in the runs that are not data for qemu-img");
}

function isZero(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0);
}

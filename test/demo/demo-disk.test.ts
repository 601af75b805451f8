import { readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import t from "tap";
import { blockBytes, DemoDisk } from "../../cli/demo/demo-disk.ts";
import { loadCore } from "../../src/core.ts";

const mebibyte = 2 ** 20;
const options = { sizeBytes: 64 * mebibyte + 8192, filledBytes: 3 * mebibyte, content: "mixed" } as const;

const folder = t.testdir();
let paths = 0;

t.test("the file holds what is expected of each block, and holes elsewhere", async (t) => {
  const disk = await DemoDisk.create(newPath(), options);
  const bytes = await readFile(disk.path);
  t.equal(bytes.length, options.sizeBytes);
  let filled = 0;
  const zeroes = new Uint8Array(blockBytes);
  for (let place = 0; place < bytes.length / blockBytes; place++) {
    const expected = disk.expected(place);
    if (expected !== null) filled++;
    const actual = bytes.subarray(place * blockBytes, (place + 1) * blockBytes);
    if (Buffer.compare(actual, expected ?? zeroes) !== 0) t.fail(`block ${place} differs`);
  }
  t.equal(filled, disk.filledBlocks);
  t.equal(filled * blockBytes, options.filledBytes);
  const { blocks } = await stat(disk.path);
  t.ok(blocks * 512 < 2 * options.filledBytes, "holes take no room");
});

t.test("a change is new content at the block's place", async (t) => {
  const disk = await DemoDisk.create(newPath(), options);
  const before = disk.contentOf(512, 16);
  const change = disk.change(512, 16);
  t.same(disk.contentOf(512, 16), before, "which counts once it was written");
  change.done();
  t.equal(change.offset, before.offset);
  t.equal(change.bytes.length, 16 * blockBytes);
  for (let i = 0; i < 16; i++) {
    const range = [i * blockBytes, (i + 1) * blockBytes] as const;
    const now = change.bytes.subarray(...range);
    t.not(Buffer.compare(now, before.bytes.subarray(...range)), 0);
    t.equal(Buffer.compare(now, disk.expected(change.offset / blockBytes + i)!), 0);
  }
  t.same(disk.expected(change.offset / blockBytes + 16), disk.contentOf(528, 1).bytes);
});

t.test("spread choices are distinct blocks, other ones each time", async (t) => {
  const disk = await DemoDisk.create(newPath(), options);
  const [first, second] = [disk.spread(20), disk.spread(20)];
  t.equal(new Set([...first, ...second]).size, 40);
  t.ok([...first, ...second].every((index) => index >= 0 && index < disk.filledBlocks));
});

t.test("the first filled block of a range is found", async (t) => {
  const disk = await DemoDisk.create(newPath(), options);
  const blocks = options.sizeBytes / blockBytes;
  const places = Array.from({ length: blocks }, (_, place) => place);
  for (const from of [0, 255, 256, 257, 5000, 5461, blocks - 1]) {
    for (const end of [from, from + 1, from + 6000]) {
      const found = places.find((place) => place >= from && place < end && disk.expected(place) !== null);
      t.equal(disk.firstFilled(from, end), found ?? null, `${from} to ${end}`);
    }
  }
});

t.test("mixed content compresses about two to one, dense content hardly", async (t) => {
  const core = await loadCore();
  for (const [content, low, high] of [
    ["mixed", 0.48, 0.56],
    ["dense", 0.98, 1.01],
  ] as const) {
    const disk = await DemoDisk.create(newPath(), { ...options, content });
    const { bytes } = disk.contentOf(0, 256);
    const share = (core.lz4Compress(bytes) ?? bytes).length / bytes.length;
    t.ok(share > low && share < high, `${content}: ${share}`);
  }
});

t.test("impossible disks are refused, and a file that is there stays", async (t) => {
  for (const wrong of [
    { sizeBytes: 4097 },
    { filledBytes: 0 },
    { filledBytes: 5000 },
    { sizeBytes: mebibyte },
  ]) {
    await t.rejects(DemoDisk.create(newPath(), { ...options, ...wrong }), RangeError);
  }
  const path = newPath();
  await writeFile(path, "precious");
  await t.rejects(DemoDisk.create(path, options), { name: "OperationError", message: /Cannot make disk/ });
  t.equal(await readFile(path, "utf8"), "precious");
});

function newPath(): string {
  return join(folder, `${++paths}.raw`);
}

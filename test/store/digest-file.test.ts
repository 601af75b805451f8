import { readFileSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { DigestFile } from "../../cli/store/digest-file.ts";
import { loadCore } from "../../src/core.ts";
import { digestFileBytes } from "../../src/generation/block-digest-layout.ts";
import { BlockDigests, differingRuns, foldDigests } from "../../src/generation/block-digests.ts";
import { endsAs } from "./operation-errors.ts";

const core = await loadCore();
const key = new Uint8Array(32).fill(9);
const digestOf = (value: number) => Buffer.alloc(16, `digest ${value} `);

t.test("a new file is its owner's alone, sparse, and as long as its levels", async (t) => {
  const path = join(t.testdir(), "digests");
  const blocks = 2 ** 28;
  const file = DigestFile.create(path, blocks);
  const levels = [2 ** 20, 2 ** 14, 2 ** 8, 4, 1, 1];
  t.equal(digestFileBytes(blocks), levels.reduce((sum, windows) => sum + windows, 0) * 4096);
  const { size, mode, blocks: sectors } = statSync(path);
  t.equal(size, digestFileBytes(blocks));
  t.equal(mode & 0o777, 0o600);
  t.equal(sectors, 0);
  file.close();
  file.close();
  t.throws(() => DigestFile.create(path, blocks), endsAs("failed"));
  t.equal(statSync(path).size, size);
});

t.test("levels stand one after the other, each from a multiple of 4096 bytes on", async (t) => {
  const path = join(t.testdir(), "digests");
  const file = DigestFile.create(path, 300);
  const view = new BlockDigests(core, key, 300, [file]);
  for (let block = 0; block < 300; block++) view.set(block, digestOf(block), 0);
  const top = view.top();
  view.flush();
  file.close();
  const bytes = readFileSync(path);
  t.equal(bytes.length, 4 * 4096);
  t.strictSame(bytes.subarray(299 * 16, 300 * 16), digestOf(299));
  t.ok(bytes.subarray(300 * 16, 8192).every((byte) => byte === 0));
  const nodes = Buffer.concat(
    [0, 64, 128, 192, 256].map((first) =>
      core.blake3(bytes.subarray(first * 16, Math.min(first + 64, 300) * 16), key, 16),
    ),
  );
  t.ok(bytes.subarray(8192, 12288).equals(Buffer.concat([nodes, Buffer.alloc(4096 - 80)])));
  t.strictSame(core.blake3(nodes, key, 16), top);
  t.ok(bytes.subarray(12288).equals(Buffer.concat([top, Buffer.alloc(4080)])));
  view.release();
});

t.test("what was flushed is there after the file was closed and opened again", async (t) => {
  const folder = t.testdir();
  const blocks = 2 ** 28;
  const paths = ["older", "newer"].map((name) => join(folder, name));
  const [older, newer] = paths.map((path) => DigestFile.create(path, blocks));
  const below = new BlockDigests(core, key, blocks, [older]);
  for (let i = 0; i < 1000; i++) below.set(i * 268000, digestOf(i), 0);
  below.flush();
  const view = new BlockDigests(core, key, blocks, [newer, older], { cacheBytes: 1 << 16 });
  for (let i = 0; i < 1000; i++) view.set(70000000 + i, digestOf(i), 0);
  t.strictSame([...differingRuns(below, view)], [{ block: 70000000, count: 1000 }]);
  const top = view.top();
  view.flush();
  await newer.sync();
  for (const file of [older, newer]) file.close();
  for (const path of paths) t.ok(statSync(path).blocks * 512 < 24 << 20, "sparse");

  const files = paths.map((path) => DigestFile.open(path, blocks, { writable: true }));
  const again = new BlockDigests(core, key, blocks, [files[1], files[0]]);
  t.strictSame(again.top(), top);
  t.ok(again.checkNodes());
  t.strictSame([...again.ownRuns()], [{ block: 70000000, count: 1000 }]);
  foldDigests(again, files[0]);
  await files[0].sync();
  const alone = new BlockDigests(core, key, blocks, [files[0]], { writable: false });
  t.strictSame(alone.top(), top);
  t.equal([...alone.ownRuns()].length, 1001);
  t.ok(alone.checkNodes());
  for (const file of files) file.close();
  for (const each of [below, view, again, alone]) each.release();
});

t.test("reads go on with zeroes beyond the end, and positions above 4 GiB work", async (t) => {
  const path = join(t.testdir(), "digests");
  const file = DigestFile.create(path, 2 ** 32);
  const length = digestFileBytes(2 ** 32);
  file.write(Uint8Array.of(1, 2, 3), length - 3);
  const target = new Uint8Array(8).fill(7);
  file.read(target, length - 4);
  t.strictSame([...target], [0, 1, 2, 3, 0, 0, 0, 0]);
  file.close();
});

t.test("a file that is not there, has another length or refuses is told by its name", async (t) => {
  const folder = t.testdir();
  const path = join(folder, "digests");
  t.throws(() => DigestFile.open(path, 10, { writable: false }), endsAs("failed"));
  t.throws(() => DigestFile.create(join(folder, "no", "digests"), 10), {
    message: /^Cannot make .*digests: /,
  });
  DigestFile.create(path, 10).close();
  t.throws(() => DigestFile.open(path, 300, { writable: false }), /8192 bytes, 16384 expected/);
  const file = DigestFile.open(path, 10, { writable: false });
  t.throws(() => file.write(digestOf(1), 0), {
    message: `Cannot write ${path}: EBADF: bad file descriptor, write`,
  });
  truncateSync(path, 0);
  writeFileSync(path, digestOf(5));
  const target = new Uint8Array(32).fill(1);
  file.read(target, 0);
  t.strictSame(Buffer.from(target), Buffer.concat([digestOf(5), Buffer.alloc(16)]));
  file.close();
  t.throws(() => file.read(target, 0), endsAs("failed"));
  await t.rejects(file.sync(), endsAs("failed"));
});

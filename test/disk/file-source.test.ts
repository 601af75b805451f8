import { execFileSync } from "node:child_process";
import { mkdirSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { deflateRawSync } from "node:zlib";
import t from "tap";
import { nodeDecompressors, openFileSource } from "../../cli/disk/file-source.ts";
import { ImageChain } from "../../src/disk/image-chain.ts";
import { openImage } from "../../src/disk/open-image.ts";
import { noise } from "../core/placing.ts";

t.test("a file is read at any position, and less of it only at its end", async (t) => {
  const path = join(t.testdir({}), "file");
  const content = noise(10_000, 4);
  writeFileSync(path, content);
  const source = openFileSource(path);
  t.equal(source.sizeBytes, 10_000);
  const memory = new Uint8Array(1000).fill(0xaa);
  t.equal(source.read(memory, 100, 500, 3000), 500);
  t.strictSame(memory.subarray(100, 600), content.subarray(3000, 3500));
  t.ok([...memory.subarray(0, 100), ...memory.subarray(600)].every((byte) => byte === 0xaa));
  t.equal(source.read(memory, 0, 1000, 9700), 300);
  t.equal(source.read(memory, 0, 1000, 20_000), 0);
  source.close();
  source.close();
  t.throws(() => source.read(memory, 0, 1, 0), Error, "a closed source cannot be read");
});

t.test("blocks go straight to the memory of WASM", async (t) => {
  const path = join(t.testdir({}), "file");
  const content = noise(8192, 4);
  writeFileSync(path, content);
  const source = openFileSource(path);
  const memory = new Uint8Array(new WebAssembly.Memory({ initial: 1 }).buffer);
  new ImageChain([openImage(source, "raw")], 8192).readBlocks(memory, 4096, 0, 2);
  t.equal(Buffer.compare(memory.subarray(4096, 12_288), content), 0);
  source.close();
});

t.test("a symbolic link is refused where it must not be followed", async (t) => {
  const folder = t.testdir({});
  writeFileSync(join(folder, "file"), "content");
  symlinkSync("file", join(folder, "link"));
  openFileSource(join(folder, "link")).close();
  openFileSource(join(folder, "file"), { followLink: false }).close();
  t.throws(() => openFileSource(join(folder, "link"), { followLink: false }), { code: "ELOOP" });
});

t.test("what is not a regular file is refused at once", async (t) => {
  const folder = t.testdir({});
  mkdirSync(join(folder, "folder"));
  execFileSync("mkfifo", [join(folder, "pipe")]);
  for (const path of [join(folder, "folder"), join(folder, "pipe"), "/dev/zero"]) {
    t.throws(() => openFileSource(path), { name: "FormatError", code: "bad-value" }, path.slice(-6));
  }
  t.throws(() => openFileSource(join(folder, "nothing")), { code: "ENOENT" });
});

t.test("a file that became shorter gives an error, not zeroes", async (t) => {
  const path = join(t.testdir({}), "file");
  writeFileSync(path, noise(8192, 4));
  const chain = new ImageChain([openImage(openFileSource(path), "raw")], 8192);
  truncateSync(path, 5000);
  t.throws(() => chain.readBlocks(new Uint8Array(4096), 0, 1, 1), { code: "truncated", offset: 5000 });
  chain.close();
});

t.test("deflate stops at the end of its data, and is refused if it is longer than allowed", async (t) => {
  const content = noise(65536, 4, 5);
  const packed = deflateRawSync(content);
  const inflateRaw = nodeDecompressors.inflateRaw!;
  const padded = new Uint8Array(packed.length + 300).fill(1);
  padded.set(packed);
  t.equal(Buffer.compare(inflateRaw(padded, 65536), content), 0);
  t.throws(() => inflateRaw(packed, 65535));
  t.throws(() => inflateRaw(packed.subarray(0, -1), 65536));
});

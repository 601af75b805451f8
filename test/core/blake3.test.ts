import { readFileSync } from "node:fs";
import fc from "fast-check";
import t from "tap";
import { loadCore } from "../../src/core.ts";
import { naiveBlake3 as blake3Twin } from "../../src/verify/naive-blake3.ts";
import { noise, place } from "./placing.ts";
import { readOwnMemoryTwice } from "./real-memory.ts";

const PAGE = 4096;
const core = await loadCore();
const { raw } = core;

const vectors = readFileSync("test/vectors/blake3.md", "utf8");
const vectorKey = new TextEncoder().encode("whats the Elvish word for friend");
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const vectorInput = (length: number): Uint8Array => Uint8Array.from({ length }, (_, i) => i % 251);

t.test("the published vectors hold, in the core and in the twin", async (t) => {
  const rows = [...vectors.matchAll(/^\| (\d+) \| ([0-9a-f]{64}) \| ([0-9a-f]{64}) \|$/gm)];
  t.equal(rows.length, 22);
  for (const [, length, plain, keyed] of rows) {
    const input = vectorInput(Number(length));
    t.equal(hex(core.blake3(input)), plain, `hash of ${length}`);
    t.equal(hex(core.blake3(input, vectorKey)), keyed, `keyed hash of ${length}`);
    t.equal(hex(blake3Twin(input)), plain, `twin's hash of ${length}`);
    t.equal(hex(blake3Twin(input, vectorKey)), keyed, `twin's keyed hash of ${length}`);
  }
});

t.test(
  "the published vectors hold for 64 bytes of output, and shorter outputs are their beginnings",
  async (t) => {
    const rows = [...vectors.matchAll(/^\| (\d+) \| ([0-9a-f]{128}) \|$/gm)];
    t.equal(rows.length, 3);
    for (const [, length, digest] of rows) {
      const input = vectorInput(Number(length));
      for (const bytes of [1, 16, 31, 33, 64]) {
        t.equal(hex(core.blake3(input, undefined, bytes)), digest!.slice(0, bytes * 2));
      }
    }
  },
);

t.test(
  "lengths around each border of blocks, chunks and groups of four chunks agree with the twin",
  async (t) => {
    for (const border of [0, 64, 128, 1024, 2048, 4096, 5120, 8192, 12288, 16384]) {
      for (const length of [border - 1, border, border + 1].filter((value) => value >= 0)) {
        const input = noise(length, length + 1);
        const key = noise(32, length + 2);
        const wanted = hex(blake3Twin(input, key));
        if (hex(core.blake3(input, key)) !== wanted) t.fail(`${length} bytes`);
        const area = place(core, input, 1);
        const keyArea = place(core, key, 3);
        const out = place(core, 16, 5);
        raw.blake3Hash(area.pointer, length, keyArea.pointer, out.pointer, 16);
        t.equal(hex(out.bytes()), wanted.slice(0, 32), `${length} bytes in one call, first 16`);
        t.ok(out.intact());
        for (const placed of [area, keyArea, out]) placed.release();
      }
    }
  },
);

t.test("the digest does not depend on how the input is cut", async (t) => {
  fc.assert(
    fc.property(
      fc.nat(),
      fc.boolean(),
      fc.array(
        fc.oneof(fc.nat(200), fc.nat(6000), fc.constantFrom(64, 1024, 4096, 4097, 8192, 8193, 17_000)),
        { maxLength: 12 },
      ),
      (seed, keyed, cuts) => {
        const input = noise(
          cuts.reduce((sum, cut) => sum + cut, 0),
          seed,
        );
        const key = keyed ? noise(32, seed + 1) : undefined;
        const hasher = core.createHasher(key);
        let at = 0;
        for (const cut of cuts) {
          hasher.update(input.subarray(at, at + cut));
          at += cut;
        }
        const first = hex(hasher.digest());
        const again = hex(hasher.digest());
        hasher.release();
        return first === hex(blake3Twin(input, key)) && again === first;
      },
    ),
    { numRuns: 60 },
  );
  t.pass();
});

t.test("a digest in the middle does not disturb the rest", async (t) => {
  const input = noise(9000, 71);
  const hasher = core.createHasher();
  for (let at = 0; at < input.length; at += 1500) {
    hasher.update(input.subarray(at, at + 1500));
    t.equal(hex(hasher.digest(16)), hex(blake3Twin(input.subarray(0, at + 1500), undefined, 16)));
  }
  hasher.release();
});

t.test("two hashers at once do not mix", async (t) => {
  const a = core.createHasher();
  const b = core.createHasher(vectorKey);
  for (let i = 0; i < 10; i++) {
    a.update(noise(700, i + 1));
    b.update(noise(5000, i + 50));
  }
  const all = (length: number, seed: number): Uint8Array =>
    Buffer.concat(Array.from({ length: 10 }, (_, i) => noise(length, i + seed)));
  t.equal(hex(a.digest()), hex(blake3Twin(all(700, 1))));
  t.equal(hex(b.digest()), hex(blake3Twin(all(5000, 50), vectorKey)));
  a.release();
  b.release();
});

t.test("page digests are the first 16 bytes of the keyed hash, for any number of pages", async (t) => {
  const { after } = readOwnMemoryTwice(11);
  const pages = place(core, after, 1);
  const key = place(core, vectorKey, 2);
  const wanted = Array.from({ length: 11 }, (_, i) =>
    hex(blake3Twin(after.subarray(i * PAGE, i * PAGE + PAGE), vectorKey, 16)),
  );
  for (const count of [0, 1, 2, 3, 4, 5, 8, 11]) {
    const out = place(core, count * 16, 4);
    raw.pageDigests(pages.pointer, count, key.pointer, out.pointer);
    t.equal(hex(out.bytes()), wanted.slice(0, count).join(""), `${count} pages`);
    t.ok(out.intact());
    out.release();
  }
  const out = place(core, 16, 7);
  for (let page = 0; page < 11; page++) {
    raw.pageDigest(pages.pointer + page * PAGE, key.pointer, out.pointer);
    t.equal(hex(out.bytes()), wanted[page]);
  }
  t.ok(out.intact() && pages.intact() && key.intact());
});

t.test("node digests hash groups of 64 children, the last one shorter, also in place", async (t) => {
  const key = place(core, vectorKey);
  for (const count of [0, 1, 63, 64, 65, 255, 256, 257, 700]) {
    const children = noise(count * 16, count + 81);
    const groups = Math.ceil(count / 64);
    const wanted = Array.from({ length: groups }, (_, group) =>
      hex(blake3Twin(children.subarray(group * 1024, group * 1024 + 1024), vectorKey, 16)),
    ).join("");
    const src = place(core, children);
    const out = place(core, groups * 16);
    t.equal(raw.nodeDigests(src.pointer, count, key.pointer, out.pointer), groups);
    t.equal(hex(out.bytes()), wanted, `${count} children`);
    t.ok(out.intact() && src.intact());
    raw.nodeDigests(src.pointer, count, key.pointer, src.pointer);
    t.equal(hex(src.bytes().subarray(0, groups * 16)), wanted, `${count} children, in place`);
    src.release();
    out.release();
  }
});

t.test("bad keys, bad lengths and released hashers are the caller's mistakes", async (t) => {
  t.throws(() => core.blake3(noise(10, 1), noise(31, 1)), RangeError);
  for (const length of [0, 65, 1.5]) t.throws(() => core.blake3(noise(10, 1), undefined, length), RangeError);
  const hasher = core.createHasher();
  hasher.release();
  hasher.release();
  t.throws(() => hasher.update(noise(1, 1)), TypeError);
  t.throws(() => hasher.digest(), TypeError);
});

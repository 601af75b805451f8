/** The vectors of `digests.md`, by the core, by the trees of the product and by the naive BLAKE3. */

import t from "tap";
import { fromHex, toHex } from "../../src/bytes.ts";
import { loadCore } from "../../src/core.ts";
import { BlockDigests } from "../../src/generation/block-digests.ts";
import { PageDigests } from "../../src/generation/digest-tree.ts";
import { placeRegions } from "../../src/generation/geometry.ts";
import { naiveBlake3 } from "../../src/verify/naive-blake3.ts";
import { MemoryDigests } from "./memory-digests.ts";
import { vectorsIn } from "./notation.ts";

const core = await loadCore();
const key = new Uint8Array(32).map((_, i) => i);
const vectors = new Map(vectorsIn("digests.md").map((vector) => [vector.name, vector]));

function vector(name: string): { bytes: Uint8Array; values: readonly string[] } {
  const found = vectors.get(name);
  if (found === undefined) throw new Error(`Cannot find ${name} in digests.md`);
  return found;
}

/** Levels above digests, node by node. */
function levelsOf(digests: Uint8Array): string[] {
  const lines: string[] = [];
  let below = digests;
  do {
    const nodes = [];
    for (let at = 0; at < below.length; at += 1024) {
      nodes.push(naiveBlake3(below.subarray(at, at + 1024), key, 16));
    }
    below = Uint8Array.from(nodes.flatMap((node) => [...node]));
    lines.push(`level ${lines.length + 1} ${nodes.map(toHex).join(" ")}`);
  } while (below.length > 16);
  return [...lines, `top ${toHex(below)}`];
}

t.test("page digests", async (t) => {
  for (const name of ["The digest of a page of zeroes", "The digest of a page"]) {
    const { bytes, values } = vector(name);
    t.strictSame([`page-digest ${toHex(core.blake3(bytes, key, 16))}`], values);
    t.strictSame([`page-digest ${toHex(naiveBlake3(bytes, key, 16))}`], values);
  }
});

t.test("trees over one, two and 65 digests", async (t) => {
  for (const name of ["The tree over one digest", "The tree over two digests", "The tree over 65 digests"]) {
    const { bytes, values } = vector(name);
    t.strictSame(levelsOf(bytes), values, name);
    const blocks = new BlockDigests(core, key, bytes.length / 16, [new MemoryDigests()]);
    for (let block = 0; block < bytes.length / 16; block++) blocks.set(block, bytes, block * 16);
    t.equal(`top ${toHex(blocks.top())}`, values.at(-1), `${name}: by block digests`);
    blocks.release();
  }
});

t.test("the digest of device state", async (t) => {
  const { bytes, values } = vector("The digest of device state");
  t.strictSame([`device-digest ${toHex(core.blake3(bytes, key))}`], values);
  t.strictSame([`device-digest ${toHex(naiveBlake3(bytes, key))}`], values);
});

t.test("roots, from digests and from the bytes that are hashed", async (t) => {
  const [large, small] = ["65 digests", "one digest"].map((over) => vector(`The tree over ${over}`).bytes);
  const geometry = placeRegions([
    { name: "pc.ram", kind: "ram", lengthBytes: 65 * 4096 },
    { name: "vga.vram", kind: "ram", lengthBytes: 4096 },
  ]);
  const digests = new PageDigests(core, key, geometry, Uint8Array.from([...large, ...small]));
  const device = fromHex(vector("The digest of device state").values[0].split(" ")[1]);
  const top = fromHex(vector("The tree over two digests").values.at(-1)?.split(" ")[1] as string);
  const disks = [{ name: "disk0", lengthBytes: 7680, top }];
  for (const [name, given] of [
    ["The root of two regions", []],
    ["The root with a disk", disks],
  ] as const) {
    const { bytes, values } = vector(name);
    t.strictSame([`root ${toHex(digests.root(device, given))}`], values, name);
    t.strictSame([`root ${toHex(naiveBlake3(bytes, key))}`], values, `${name}: from the bytes`);
  }
  digests.release();
});

t.test("the file with the digests of an image's blocks", async (t) => {
  const { bytes, values } = vector("A file with digests of blocks");
  const own = new Uint8Array(16);
  const stored = new BlockDigests(core, key, 70, [new MemoryDigests(bytes)], { writable: false });
  const lines: string[] = [];
  for (const { block, count } of stored.ownRuns()) {
    for (let i = block; i < block + count; i++) {
      stored.copy(i, 1, own, 0);
      lines.push(`block ${i} ${toHex(own)}`);
    }
  }
  t.strictSame([...lines, `zero ${toHex(stored.zero)}`, `top ${toHex(stored.top())}`], values);
  t.ok(stored.checkNodes());
  const storage = new MemoryDigests(new Uint8Array(bytes.length));
  const written = new BlockDigests(core, key, 70, [storage]);
  for (const line of values.filter((line) => line.startsWith("block "))) {
    const [, block, digest] = line.split(" ");
    written.set(Number(block), fromHex(digest), 0);
  }
  written.flush();
  t.strictSame(storage.bytes, bytes, "ours is the same");
  stored.release();
  written.release();
});

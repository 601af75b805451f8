import fc from "fast-check";
import t from "tap";
import { loadCore } from "../../src/core.ts";
import { type DiskTop, digestBytes, PageDigests } from "../../src/generation/digest-tree.ts";
import { type Geometry, placeRegions } from "../../src/generation/geometry.ts";
import { noiseFrom } from "../store/model-store.ts";

const core = await loadCore();
const key = new Uint8Array(32).map((_, i) => i);
const device = new Uint8Array(32).fill(4);
const geometryOf = (...pages: number[]) =>
  placeRegions(pages.map((count, i) => ({ name: `r${i}`, kind: "ram", lengthBytes: count * 4096 })));

/** The root by its definition, from scratch, with a BLAKE3 of whole arrays. */
function naiveRoot(geometry: Geometry, digests: Uint8Array, disks: readonly DiskTop[] = []): string {
  const parts: Uint8Array[] = [Buffer.from("bfmig root 1\0")];
  for (const { name, lengthBytes, firstPage, pages } of geometry.regions) {
    let nodes = Buffer.from(digests.slice(firstPage * 16, (firstPage + pages) * 16));
    do {
      const above: Uint8Array[] = [];
      for (let at = 0; at < nodes.length; at += 64 * 16) {
        above.push(core.blake3(nodes.subarray(at, at + 64 * 16), key, 16));
      }
      nodes = Buffer.concat(above);
    } while (nodes.length > 16);
    const head = Buffer.alloc(10);
    head.writeUInt16LE(Buffer.byteLength(name));
    head.writeBigUInt64LE(BigInt(lengthBytes), 2);
    parts.push(head, Buffer.from(name), nodes);
  }
  for (const { name, lengthBytes, top } of disks) {
    const head = Buffer.alloc(10);
    head.writeUInt16LE(Buffer.byteLength(name) + 0x8000);
    head.writeBigUInt64LE(BigInt(lengthBytes), 2);
    parts.push(head, Buffer.from(name), top);
  }
  return Buffer.from(core.blake3(Buffer.concat([...parts, device]), key, 32)).toString("hex");
}

const rootOf = (tree: PageDigests) => Buffer.from(tree.root(device)).toString("hex");

t.test("the root is that of the naive twin, for regions of one page to several levels", async (t) => {
  for (const pages of [[1], [2], [63], [64], [65], [4096], [4097, 1], [5000, 64, 3]]) {
    const geometry = geometryOf(...pages);
    const digests = new Uint8Array(geometry.totalPages * digestBytes).map(noiseFrom(geometry.totalPages));
    const tree = new PageDigests(core, key, geometry, digests);
    t.equal(rootOf(tree), naiveRoot(geometry, digests), `${pages}`);
    tree.release();
  }
});

t.test("the root after changes is that of a tree made from scratch", async () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1, maxLength: 3 }),
      fc.array(fc.tuple(fc.nat(), fc.nat(255), fc.boolean()), { maxLength: 30 }),
      (pages, changes) => {
        const geometry = geometryOf(...pages);
        const tree = new PageDigests(core, key, geometry);
        for (const [number, value, takeRoot] of changes) {
          const page = number % geometry.totalPages;
          const region = geometry.regions.findLast(({ firstPage }) => page >= firstPage)?.index ?? 0;
          tree.set(region, page, new Uint8Array(20).fill(value), 3);
          if (takeRoot && value % 2 === 0) tree.root(device);
          else if (takeRoot) tree.refresh();
        }
        const same = rootOf(tree) === naiveRoot(geometry, tree.digests);
        tree.release();
        return same;
      },
    ),
    { numRuns: 40 },
  );
});

t.test("nodes side by side are computed as one by one, wherever runs of them begin and end", async (t) => {
  const geometry = geometryOf(6000, 130);
  const tree = new PageDigests(core, key, geometry);
  tree.refresh();
  const change = (region: number, first: number, end: number, step: number) => {
    const from = geometry.regions[region]!.firstPage;
    for (let page = first; page < end; page += step) tree.set(region, from + page, device, 0);
    t.equal(
      rootOf(tree),
      naiveRoot(geometry, tree.digests),
      `region ${region}, ${first} to ${end} by ${step}`,
    );
  };
  change(0, 100, 5000, 64);
  change(0, 5999, 6000, 1);
  change(0, 64 * 30, 64 * 47, 40);
  change(0, 3, 6000, 129);
  change(1, 0, 130, 64);
  // Not in ascending order.
  for (const page of [4000, 64, 0, 128, 5999]) tree.set(0, page, key, 1);
  t.equal(rootOf(tree), naiveRoot(geometry, tree.digests));
  tree.release();
});

t.test("without digests every page counts as zero", async (t) => {
  const tree = new PageDigests(core, key, geometryOf(70));
  t.strictSame(tree.zero, core.blake3(new Uint8Array(4096), key, 16));
  for (const page of [0, 1, 69]) t.ok(tree.isZero(page));
  tree.set(0, 5, device, 0);
  t.notOk(tree.isZero(5));
  t.ok(tree.equals(5, device, 1));
});

t.test("names, lengths, contents, device state and key all count", async (t) => {
  const digests = new Uint8Array(3 * 16).fill(1);
  const roots = new Set<string>();
  const add = (tree: PageDigests, state = device) => roots.add(Buffer.from(tree.root(state)).toString("hex"));
  add(new PageDigests(core, key, geometryOf(3), digests));
  add(new PageDigests(core, key, geometryOf(2, 1), digests));
  add(new PageDigests(core, key, geometryOf(1, 2), digests));
  add(
    new PageDigests(
      core,
      key,
      placeRegions([{ name: "other", kind: "ram", lengthBytes: 3 * 4096 }]),
      digests,
    ),
  );
  add(new PageDigests(core, key.slice().reverse(), geometryOf(3), digests));
  add(new PageDigests(core, key, geometryOf(3), digests), new Uint8Array(32));
  add(
    new PageDigests(
      core,
      key,
      geometryOf(3),
      digests.map((byte, i) => byte ^ Number(i === 47)),
    ),
  );
  t.equal(roots.size, 7);
});

t.test("wrong lengths are the caller's mistake", async (t) => {
  t.throws(() => new PageDigests(core, new Uint8Array(16), geometryOf(1)), RangeError);
  t.throws(() => new PageDigests(core, key, geometryOf(2), new Uint8Array(16)), RangeError);
});

t.test("the root covers disks: their order, names, lengths and tops", async (t) => {
  const geometry = geometryOf(3);
  const digests = new Uint8Array(3 * 16).map(noiseFrom(3));
  const tree = new PageDigests(core, key, geometry, digests);
  const a = { name: "a", lengthBytes: 512, top: new Uint8Array(16).fill(1) };
  const b = { name: "b", lengthBytes: 2 ** 44, top: new Uint8Array(16).fill(2) };
  const lists: DiskTop[][] = [
    [],
    [a],
    [b],
    [a, b],
    [b, a],
    [a, { ...b, name: "c" }],
    [a, { ...b, lengthBytes: 2 ** 43 }],
    [a, { ...b, top: a.top }],
    [
      { ...a, top: b.top },
      { ...b, top: a.top },
    ],
  ];
  const roots = lists.map((disks) => Buffer.from(tree.root(device, disks)).toString("hex"));
  t.equal(new Set(roots).size, lists.length);
  for (const [i, disks] of lists.entries()) t.equal(roots[i], naiveRoot(geometry, digests, disks), `${i}`);
  t.equal(roots[0], rootOf(tree), "without disks it is what it was before there were any");
});

t.test("a disk is never taken for a RAM block of the same name, length and content", async (t) => {
  const digests = new Uint8Array(5 * 16).map(noiseFrom(5));
  const both = new PageDigests(core, key, geometryOf(3, 2), digests);
  const ram = new PageDigests(core, key, geometryOf(3), digests.slice(0, 48));
  // The top of a tree of few leaves is a node over them.
  const top = core.blake3(digests.subarray(48), key, 16);
  const asDisk = ram.root(device, [{ name: "r1", lengthBytes: 2 * 4096, top }]);
  t.not(Buffer.from(asDisk).toString("hex"), rootOf(both));
});

import fc from "fast-check";
import t, { type Test } from "tap";
import { loadCore } from "../../src/core.ts";
import { type DigestStorage, digestFileBytes } from "../../src/generation/block-digest-layout.ts";
import { BlockDigests, differingRuns, foldDigests } from "../../src/generation/block-digests.ts";
import { PageDigests } from "../../src/generation/digest-tree.ts";
import { placeRegions } from "../../src/generation/geometry.ts";

const core = await loadCore();
const key = new Uint8Array(32).map((_, i) => i);
const zero = core.blake3(new Uint8Array(4096), key, 16);
const sizes = [1, 2, 63, 64, 65, 4096, 4097, 100001];
/** Room for four windows only, so that everything is evicted again and again. */
const tight = { cacheBytes: 1 };

/** Sparse storage in memory; throws on writes and reads when it is told to. */
class MemoryStorage implements DigestStorage {
  readonly windows = new Map<number, Uint8Array>();
  reads = 0;
  writesLeft = Number.POSITIVE_INFINITY;
  isUnreadable = false;

  read(target: Uint8Array, at: number): void {
    if (this.isUnreadable) throw new Error("unreadable");
    this.reads++;
    const window = this.windows.get(at);
    if (window) target.set(window);
    else target.fill(0);
  }

  write(bytes: Uint8Array, at: number): void {
    if (this.writesLeft-- <= 0) throw new Error("cut off");
    this.windows.set(at, bytes.slice());
  }

  clone(): MemoryStorage {
    const copy = new MemoryStorage();
    for (const [at, bytes] of this.windows) copy.windows.set(at, bytes.slice());
    return copy;
  }
}

/** A digest that is not zero, for each number. */
const digestOf = (value: number) => Buffer.alloc(16, `digest ${value} `);

/** Entries that a layer has. */
type Layer = Map<number, Buffer>;

/** What layers answer together, newest first, by the definition. */
function naiveDigests(blocks: number, layers: readonly Layer[]): Buffer {
  const all = Buffer.alloc(blocks * 16, Buffer.from(zero));
  for (const layer of layers.toReversed()) for (const [block, digest] of layer) all.set(digest, block * 16);
  return all;
}

/** The top by its definition, with a BLAKE3 of whole arrays. */
function naiveTop(digests: Buffer): Buffer {
  let nodes = digests;
  do {
    const above: Uint8Array[] = [];
    for (let at = 0; at < nodes.length; at += 1024) {
      above.push(core.blake3(nodes.subarray(at, at + 1024), key, 16));
    }
    nodes = Buffer.concat(above);
  } while (nodes.length > 16);
  return nodes;
}

/** Runs of the numbers below `blocks` that are wanted, as `[block, count]`. */
function naiveRuns(blocks: number, isWanted: (block: number) => boolean): number[][] {
  const runs: number[][] = [];
  for (let block = 0; block < blocks; block++) {
    if (!isWanted(block)) continue;
    const last = runs.at(-1);
    if (last && last[0] + last[1] === block) last[1]++;
    else runs.push([block, 1]);
  }
  return runs;
}

const pairs = (runs: Iterable<{ block: number; count: number }>) =>
  [...runs].map(({ block, count }) => [block, count]);
const sliceOf = (digests: Buffer, block: number) => digests.subarray(block * 16, block * 16 + 16);
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

/** Storages of layers (newest first), each written through a view of its own over the older ones. */
function storagesOf(blocks: number, layers: readonly Layer[], options = tight): MemoryStorage[] {
  const storages: MemoryStorage[] = [];
  for (const layer of layers.toReversed()) {
    storages.unshift(new MemoryStorage());
    const view = new BlockDigests(core, key, blocks, storages, options);
    for (const [block, digest] of layer) view.set(block, digest, 0);
    view.flush();
    view.release();
  }
  return storages;
}

/** Compares a view with the twin, and its walks with what the twin has. */
function checkView(t: Test, view: BlockDigests, layers: readonly Layer[]): void {
  const { blocks } = view;
  const expected = naiveDigests(blocks, layers);
  const found = Buffer.alloc(blocks * 16 + 3);
  view.copy(0, blocks, found, 3);
  t.ok(found.subarray(3).equals(expected), "digests");
  t.equal(hex(view.top()), hex(naiveTop(expected)), "top");
  const own = naiveRuns(blocks, (block) => layers[0].has(block));
  t.strictSame(pairs(view.ownRuns()), own, "own runs");
  const nonZero = naiveRuns(blocks, (block) => !sliceOf(expected, block).equals(zero));
  t.strictSame(pairs(view.nonZeroRuns()), nonZero, "runs that are not zero");
  t.ok(view.checkNodes(), "nodes");
}

/** Layers of a disk: block numbers (some in clusters) and values, of which 0 stands for a block of zeroes. */
function layersArbitrary(blocks: number, layers: number): fc.Arbitrary<Layer[]> {
  const change = fc.record({
    block: fc.nat(blocks - 1),
    count: fc.oneof(fc.constant(1), fc.nat(200)),
    value: fc.nat(5),
  });
  return fc.array(fc.array(change, { maxLength: 12 }), { minLength: layers, maxLength: layers }).map((all) =>
    all.map((changes) => {
      const layer: Layer = new Map();
      for (const { block, count, value } of changes) {
        for (let at = block; at < Math.min(blocks, block + count); at++) {
          layer.set(at, value === 0 ? Buffer.from(zero) : digestOf(value + (at % 3)));
        }
      }
      return layer;
    }),
  );
}

t.test("a disk without entries is one of zeroes, of any size", async (t) => {
  for (const blocks of sizes) {
    const view = new BlockDigests(core, key, blocks, [new MemoryStorage()]);
    t.strictSame(view.zero, zero);
    t.ok(view.isZero(blocks - 1));
    t.notOk(view.hasOwn(0));
    checkView(t, view, [new Map()]);
    view.release();
  }
});

t.test("digests and top are those of the naive twin, for full and sparse disks of all sizes", async (t) => {
  for (const blocks of sizes) {
    const full: Layer = new Map();
    const sparse: Layer = new Map();
    for (let block = 0; block < blocks; block++) full.set(block, digestOf(block));
    for (let block = 0; block < blocks; block += 1 + (block % 977)) sparse.set(block, digestOf(-block));
    sparse.set(blocks - 1, Buffer.from(zero));
    const storages = storagesOf(blocks, [sparse, full], { cacheBytes: 1 << 20 });
    for (const view of [
      new BlockDigests(core, key, blocks, storages),
      new BlockDigests(core, key, blocks, storages, { ...tight, writable: false }),
    ]) {
      checkView(t, view, [sparse, full]);
      t.ok(view.equals(blocks - 1, Buffer.concat([digestOf(1), zero]), 16));
      t.notOk(view.equals(0, digestOf(1), 1));
      view.release();
    }
    const below = new BlockDigests(core, key, blocks, storages.slice(1));
    checkView(t, below, [full]);
    below.release();
  }
});

t.test("the top is that of a region of RAM with the same digests", async (t) => {
  const device = new Uint8Array(32);
  for (const blocks of sizes) {
    const view = new BlockDigests(core, key, blocks, [new MemoryStorage()]);
    const geometry = placeRegions([{ name: "r", kind: "ram", lengthBytes: blocks * 4096 }]);
    const pages = new PageDigests(core, key, geometry);
    for (let block = 0; block < blocks; block += 1 + (block % 50)) {
      view.set(block, digestOf(block), 0);
      pages.set(0, block, digestOf(block), 0);
    }
    const head = Buffer.alloc(11, "\x01\0\0\0\0\0\0\0\0\0r");
    head.writeBigUInt64LE(BigInt(blocks * 4096), 2);
    const root = core.blake3(Buffer.concat([Buffer.from("bfmig root 1\0"), head, view.top(), device]), key);
    t.equal(hex(root), hex(pages.root(device)), `${blocks}`);
    view.release();
    pages.release();
  }
});

t.test("changes in any order, with a cache that is too small, leave what the twin has", async (t) => {
  const scenario = fc
    .constantFrom(1, 65, 300, 20000)
    .chain((blocks) =>
      fc.tuple(fc.constant(blocks), layersArbitrary(blocks, 3), fc.integer({ min: 1, max: 50 })),
    );
  fc.assert(
    fc.property(scenario, ([blocks, layers, every]) => {
      const storages = [new MemoryStorage(), ...storagesOf(blocks, layers.slice(1))];
      const view = new BlockDigests(core, key, blocks, storages, tight);
      let step = 0;
      for (const [block, digest] of layers[0]) {
        view.set(block, digest, 0);
        if (++step % every === 0) view.refresh();
        if (step % (3 * every) === 0) view.flush();
      }
      checkView(t, view, layers);
      view.flush();
      view.release();
      const again = new BlockDigests(core, key, blocks, storages, { writable: false });
      checkView(t, again, layers);
      for (const block of layers[0].keys()) if (!again.hasOwn(block)) return false;
      again.release();
      return true;
    }),
    { numRuns: 25 },
  );
});

t.test("runs that differ between two disks are those of the twin", async () => {
  const scenario = fc
    .constantFrom(1, 64, 300, 20000)
    .chain((blocks) => fc.tuple(fc.constant(blocks), layersArbitrary(blocks, 2), layersArbitrary(blocks, 1)));
  fc.assert(
    fc.property(scenario, ([blocks, [newest, shared], [other]]) => {
      const common = storagesOf(blocks, [shared]);
      const left = new BlockDigests(core, key, blocks, [new MemoryStorage(), ...common], tight);
      const right = new BlockDigests(core, key, blocks, [new MemoryStorage(), ...common], tight);
      for (const [block, digest] of newest) left.set(block, digest, 0);
      for (const [block, digest] of other) right.set(block, digest, 0);
      const a = naiveDigests(blocks, [newest, shared]);
      const b = naiveDigests(blocks, [other, shared]);
      const expected = naiveRuns(blocks, (block) => !sliceOf(a, block).equals(sliceOf(b, block)));
      const found = pairs(differingRuns(left, right));
      const none = pairs(differingRuns(left, left));
      left.release();
      right.release();
      return JSON.stringify([found, none]) === JSON.stringify([expected, []]);
    }),
    { numRuns: 40 },
  );
});

t.test("a fold that is cut off after any write changes no answer, and can be begun again", async (t) => {
  const blocks = 100001;
  const [newest, middle, bottom] = fc.sample(layersArbitrary(blocks, 3), { numRuns: 1, seed: 7 })[0];
  const storages = storagesOf(blocks, [newest, middle, bottom]);
  const top = hex(naiveTop(naiveDigests(blocks, [newest, middle, bottom])));
  const checkAll = (upper: MemoryStorage, lower: MemoryStorage) => {
    const view = new BlockDigests(core, key, blocks, [upper, lower, storages[2]], { writable: false });
    const found = Buffer.alloc(blocks * 16);
    view.copy(0, blocks, found, 0);
    const isSame = found.equals(naiveDigests(blocks, [newest, middle, bottom]));
    t.ok(isSame && hex(view.top()) === top && view.checkNodes());
    view.release();
  };
  for (let writes = 0, isDone = false; !isDone; writes++) {
    const lower = storages[1].clone();
    const upper = new BlockDigests(core, key, blocks, [storages[0], lower, storages[2]], tight);
    lower.writesLeft = writes;
    try {
      foldDigests(upper, lower);
      isDone = true;
    } catch {
      checkAll(storages[0], lower);
      lower.writesLeft = Number.POSITIVE_INFINITY;
      foldDigests(upper, lower);
    }
    checkAll(storages[0], lower);
    upper.release();
    const alone = new BlockDigests(core, key, blocks, [lower, storages[2]], { writable: false });
    checkView(t, alone, [new Map([...middle, ...newest]), bottom]);
    alone.release();
    t.ok(!isDone || writes > 8, `${writes} writes`);
  }
});

t.test("a fold takes changes with it that were not flushed", async (t) => {
  const lower = new MemoryStorage();
  const upper = new BlockDigests(core, key, 500, [new MemoryStorage(), lower]);
  upper.set(300, digestOf(3), 0);
  foldDigests(upper, lower);
  const alone = new BlockDigests(core, key, 500, [lower]);
  checkView(t, alone, [new Map([[300, digestOf(3)]])]);
});

t.test("disks up to the largest cost what is present", async (t) => {
  for (const blocks of [2 ** 28, 2 ** 28 + 1, 2 ** 32]) {
    const storages = [new MemoryStorage(), new MemoryStorage()];
    const numbers = [0, 255, 256, 12345678, 2 ** 27, blocks - 1];
    const older = new BlockDigests(core, key, blocks, storages.slice(1));
    for (const number of numbers) older.set(number, digestOf(1), 0);
    older.flush();
    const view = new BlockDigests(core, key, blocks, storages, { cacheBytes: 1 << 16 });
    t.strictSame(pairs(differingRuns(view, older)), []);
    view.set(blocks - 2, digestOf(2), 0);
    view.set(blocks - 1, zero, 0);
    view.flush();
    t.strictSame(pairs(view.ownRuns()), [[blocks - 2, 2]]);
    const same = `[0,1],[255,2],[12345678,1],[${2 ** 27},1]`;
    t.equal(JSON.stringify(pairs(older.ownRuns())), `[${same},[${blocks - 1},1]]`);
    t.equal(JSON.stringify(pairs(view.nonZeroRuns())), `[${same},[${blocks - 2},1]]`);
    t.strictSame(pairs(differingRuns(older, view)), [[blocks - 2, 2]]);
    t.ok(view.checkNodes());
    t.ok(storages[0].windows.size <= 2 * 7, `${storages[0].windows.size} windows written`);
    t.ok(storages[1].reads < 500, `${storages[1].reads} windows read`);
    t.ok(Math.max(...storages[1].windows.keys()) < digestFileBytes(blocks));
    view.release();
    older.release();
  }
});

t.test("a changed digest, a changed node and an entry without its node are found", async (t) => {
  const blocks = 100001;
  const base: Layer = new Map([0, 70, 5000, 99999].map((block) => [block, digestOf(block)]));
  const pristine = storagesOf(blocks, [new Map([[70, digestOf(1)]]), base]);
  const nodesAgree = (storages: readonly MemoryStorage[]) => {
    const view = new BlockDigests(core, key, blocks, storages, { writable: false });
    const agree = view.checkNodes();
    view.release();
    return agree;
  };
  const hasEntry = (storage: MemoryStorage, at: number, entry: number) =>
    storage.windows
      .get(at)
      ?.subarray(entry, entry + 16)
      .some((byte) => byte !== 0) ?? false;
  t.ok(nodesAgree(pristine));
  for (const [layer, storage] of pristine.entries()) {
    for (const at of storage.windows.keys()) {
      for (let entry = 0; entry < 4096; entry += 16) {
        if (!hasEntry(storage, at, entry)) continue;
        const isHidden = layer === 1 && hasEntry(pristine[0], at, entry);
        const damaged = pristine.map((each) => each.clone());
        (damaged[layer].windows.get(at) as Uint8Array)[entry + 5] ^= 1;
        t.equal(nodesAgree(damaged), isHidden, `layer ${layer}, position ${at + entry}`);
      }
    }
  }
  // The same digest as the layer below has, but with no node above it in its own layer.
  const stray = pristine.map((each) => each.clone());
  stray[0].windows.get(0)?.set(digestOf(0), 0);
  t.notOk(nodesAgree(stray));
});

t.test("a storage that fails loses nothing", async (t) => {
  const storage = new MemoryStorage();
  const view = new BlockDigests(core, key, 100001, [storage], tight);
  const layer: Layer = new Map();
  storage.writesLeft = 0;
  for (let i = 0; i < 20; i++) {
    const block = i * 3001;
    try {
      view.set(block, digestOf(i), 0);
      layer.set(block, digestOf(i));
    } catch (error) {
      t.match(error, { message: "cut off" });
    }
  }
  t.equal(layer.size, 4);
  t.throws(() => view.flush(), { message: "cut off" });
  storage.writesLeft = Number.POSITIVE_INFINITY;
  storage.isUnreadable = true;
  t.throws(() => view.isZero(90000), { message: "unreadable" });
  t.throws(() => view.top(), { message: "unreadable" });
  storage.isUnreadable = false;
  checkView(t, view, [layer]);
  view.flush();
  checkView(t, new BlockDigests(core, key, 100001, [storage]), [layer]);
});

t.test("what the caller may not do is refused", async (t) => {
  const storage = new MemoryStorage();
  const make = (blocks: number, count = 1, bytes = key) =>
    new BlockDigests(core, bytes, blocks, Array(count).fill(storage), { writable: false });
  for (const blocks of [0, -1, 1.5, Number.NaN, 2 ** 32 + 1]) t.throws(() => make(blocks), RangeError);
  t.throws(() => make(1, 0), RangeError);
  t.throws(() => make(1, 256), RangeError);
  t.throws(() => make(1, 1, new Uint8Array(16)), RangeError);
  const view = make(300, 255);
  t.throws(() => view.set(0, zero, 0), TypeError);
  for (const block of [-1, 300, Number.NaN]) t.throws(() => view.isZero(block), RangeError);
  t.throws(() => view.copy(299, 2, new Uint8Array(32), 0), RangeError);
  t.throws(() => [...differingRuns(view, make(301))], RangeError);
  t.throws(() => [...differingRuns(view, make(300, 1, key.slice().reverse()))], RangeError);
});

t.test("all of the core's memory is given back", async (t) => {
  const probe = await loadCore();
  const places = Array.from({ length: 5 }, () => {
    const view = new BlockDigests(probe, key, 5000, [new MemoryStorage()]);
    view.set(1, digestOf(1), 0);
    view.top();
    const place = view.keyPointer;
    t.strictSame(probe.bytes().slice(place, place + 32), key);
    view.release();
    return place;
  });
  t.equal(new Set(places).size, 1);
});

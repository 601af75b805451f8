import { randomBytes } from "node:crypto";
import t from "tap";
import type { CommonBase } from "../../cli/leg/common-base.ts";
import { loadLegCore } from "../../cli/leg/leg-core.ts";
import { type GuestMemory, type MemoryStates, PageState } from "../../cli/predict/guest-memory.ts";
import { measureMemory } from "../../cli/predict/memory-facts.ts";
import { lookAt, SampleOrder, writtenBetween } from "../../cli/predict/memory-look.ts";
import { readDigests, type StoredGeneration } from "../../cli/store/generation-reader.ts";
import { PageDigests } from "../../src/generation/digest-tree.ts";
import { placeRegions } from "../../src/generation/geometry.ts";
import { ModelStore } from "../store/model-store.ts";

const pages = 4096;
const pageBytes = 4096;
const key = new Uint8Array(32).fill(7);

/** Memory made of a state and a content for each page; `reads` counts. */
class FakeMemory {
  readonly pages = pages;
  readonly isMapped = false;
  readonly contents = new Map<number, Uint8Array>();
  reads = 0;

  fill(from: number, count: number): void {
    for (let page = from; page < from + count; page++)
      this.contents.set(page, new Uint8Array(randomBytes(pageBytes)));
  }

  states(): MemoryStates {
    const states = Uint8Array.from({ length: pages }, (_, page) =>
      this.contents.has(page) ? PageState.own : PageState.untouched,
    );
    return { states, ownPages: this.contents.size };
  }

  read(page: number, target: Uint8Array, at: number): boolean {
    this.reads++;
    target.set(this.contents.get(page) ?? new Uint8Array(pageBytes), at);
    return true;
  }
}
const asGuest = (memory: FakeMemory) => memory as unknown as GuestMemory;
const nothing: CommonBase = { mode: "nothing" };

t.test("the order in which pages are chosen is even: any part of it and of the memory", async (t) => {
  const order = new SampleOrder(pages);
  for (const [from, count] of [
    [0, 4096],
    [1000, 512],
    [2048, 2048],
  ]) {
    for (const share of [0.05, 0.25, 0.5]) {
      let chosen = 0;
      for (let page = from; page < from + count; page++) if (order.placeOf(page) < share * pages) chosen++;
      t.ok(Math.abs(chosen - count * share) <= 8, `${chosen} of ${count} at ${share}`);
    }
  }
});

t.test("the order has every page once, whatever their number", async (t) => {
  for (const total of [1, 2, 3, 8, 16382, 30030, 65536]) {
    const order = new SampleOrder(total);
    const seen = new Set<number>();
    for (let place = 0, page = 0; place < total; place++, page = (page + order.step) % total) {
      seen.add(page);
      if (order.placeOf(page) !== place) t.fail(`page ${page} of ${total} stands at ${place}`);
    }
    t.equal(seen.size, total);
  }
  const huge = new SampleOrder(2 ** 30);
  t.equal(huge.placeOf((huge.step * 3) % 2 ** 30), 3, "where products are more than a number holds");
});

t.test("a first leg's facts: what is filled travels, as dense as it is", async (t) => {
  const core = await loadLegCore();
  const memory = new FakeMemory();
  memory.fill(100, 1000);
  for (let page = 2000; page < 2100; page++) memory.contents.set(page, new Uint8Array(pageBytes));
  const probe = { core, key, memory: asGuest(memory), base: nothing, mapped: null, before: null };
  const effort = { lookMs: 5000, encodedPages: 400, encodedFirstPages: 400, watchMs: 0 };
  const facts = await measureMemory({ ...probe, bytesPerSecond: 12.5e6, effort });
  t.equal(facts.filledBytes, 1000 * pageBytes);
  t.equal(facts.changedBytes, 1000 * pageBytes);
  t.equal(facts.changedDeviation, 0, "all were read");
  t.ok(facts.pageCost > 0.99 && facts.pageCost < 1.05, String(facts.pageCost));
  t.equal(facts.writing.bytesPerSecond, 0);
});

t.test("a return leg's facts: what differs from the digests, whole if only those are here", async (t) => {
  const core = await loadLegCore();
  const memory = new FakeMemory();
  memory.fill(0, pages);
  const geometry = placeRegions([{ name: "pc.ram", kind: "ram", lengthBytes: pages * pageBytes }]);
  const digests = new PageDigests(core, key, geometry);
  const page = core.allocate(pageBytes);
  const out = core.allocate(32);
  for (const [at, content] of memory.contents) {
    core.bytes().set(content, page);
    core.raw.pageDigest(page, digests.keyPointer, out);
    digests.set(0, at, core.bytes(), out);
  }
  memory.fill(512, 300);
  const own = { manifest: { regions: geometry.regions } } as never;
  const base: CommonBase = {
    mode: "digests",
    id: { generation: 3, root: "00" },
    digests: digests.digests.slice(),
    own,
    ownDigests: digests.digests.slice(),
  };
  const effort = { lookMs: 5000, encodedPages: 400, encodedFirstPages: 400, watchMs: 0 };
  const probe = { core, key, memory: asGuest(memory), base, mapped: null, before: null };
  const facts = await measureMemory({ ...probe, bytesPerSecond: 12.5e6, effort });
  t.equal(facts.changedBytes, 300 * pageBytes);
  t.ok(facts.pageCost > 0.99);
  t.equal(facts.sampledPages, pages);
});

t.test("a VM that arrived: what nobody wrote to is known by the generation it was mapped from", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const first = new Uint8Array(randomBytes(model.memoryBytes));
  first.fill(0, 30 * pageBytes, 35 * pageBytes);
  const older = await model.add(first);
  const second = first.slice();
  second.set(randomBytes(3 * pageBytes), 10 * pageBytes);
  const newest = await model.add(second, older);
  // Of the 40 pages of main memory, since then: two new ones, one as the first generation has it, one all zero.
  const own = new Map<number, Uint8Array>([
    [0, new Uint8Array(randomBytes(pageBytes))],
    [31, new Uint8Array(randomBytes(pageBytes))],
    [11, first.slice(11 * pageBytes, 12 * pageBytes)],
    [5, new Uint8Array(pageBytes)],
  ]);
  const states = Uint8Array.from({ length: 40 }, (_, page) =>
    own.has(page) ? PageState.own : PageState.asMapped,
  );
  const memory = {
    pages: 40,
    isMapped: true,
    states: () => ({ states, ownPages: own.size }),
    read: (page: number, target: Uint8Array, at: number) => {
      target.set(own.get(page) as Uint8Array, at);
      return true;
    },
  } as unknown as GuestMemory;
  const factsTowards = async (base: CommonBase) =>
    await measureMemory({
      ...{ core: model.core, key: model.key, memory, base, bytesPerSecond: 12.5e6, before: null },
      mapped: { generation: newest, digests: await readDigests(newest) },
      effort: { lookMs: 5000, encodedPages: 400, encodedFirstPages: 400, watchMs: 0 },
    });
  const towards = async (generation: StoredGeneration): Promise<CommonBase> => ({
    mode: "content",
    generation,
    digests: await readDigests(generation),
  });
  const filledBytes = (40 - 5 + 1 - 1) * pageBytes;
  t.match(await factsTowards(await towards(newest)), { changedBytes: 4 * pageBytes, filledBytes });
  t.match(await factsTowards(await towards(older)), { changedBytes: (3 + 2) * pageBytes, filledBytes });
  t.match(await factsTowards(nothing), { changedBytes: filledBytes, filledBytes });
  const digests = await readDigests(older);
  const kept: CommonBase = {
    mode: "digests",
    id: older.manifest,
    digests,
    own: newest,
    ownDigests: await readDigests(newest),
  };
  const facts = await factsTowards(kept);
  t.match(facts, { changedBytes: (3 + 2) * pageBytes, filledBytes });
  t.ok(facts.pageCost > 0.7 && facts.pageCost < 0.95, `all whole, but the zero one: ${facts.pageCost}`);
});

t.test("of a large memory that is as it was mapped some pages say how much is filled", async (t) => {
  const core = await loadLegCore();
  const total = 200_000;
  const zero = core.blake3(new Uint8Array(pageBytes), key, 16);
  const digests = new Uint8Array(total * 16);
  for (let page = 0; page < total; page++) digests.set(zero, page * 16);
  // Runs of 64 pages, two of three filled.
  for (let page = 0; page < total; page++) if ((page >> 6) % 3 > 0) digests[page * 16] ^= 1;
  const generation = { directory: "/store/demo/generations/1" } as StoredGeneration;
  const states = new Uint8Array(total).fill(PageState.asMapped);
  const memory = { pages: total, isMapped: true, states: () => ({ states, ownPages: 0 }) };
  const facts = await measureMemory({
    ...{ core, key, memory: memory as unknown as GuestMemory, bytesPerSecond: 12.5e6, before: null },
    base: { mode: "content", generation, digests },
    mapped: { generation, digests },
    effort: { lookMs: 60, encodedPages: 400, encodedFirstPages: 400, watchMs: 0 },
  });
  t.match(facts, { changedBytes: 0, changedDeviation: 0, sampledPages: 0 });
  const share = facts.filledBytes / (total * pageBytes);
  t.ok(Math.abs(share - 2 / 3) < 0.01, `${share} of it`);
});

t.test("with little time a part stands for the whole, and says how uncertain it is", async (t) => {
  const core = await loadLegCore();
  const memory = new FakeMemory();
  memory.fill(0, 4000);
  const look = await lookAt(core, key, asGuest(memory), { budgetMs: 0 });
  t.ok(look.share < 1 && look.digests.size < 1000, "one step");
  t.ok(Math.abs(look.digests.size / look.share - 4000) < 100);
  const probe = { core, key, memory: asGuest(memory), base: nothing, mapped: null, before: null };
  const effort = { lookMs: 0, encodedPages: 64, encodedFirstPages: 64, watchMs: 0 };
  const facts = await measureMemory({ ...probe, bytesPerSecond: 1e6, effort });
  t.equal(facts.changedBytes, 4000 * pageBytes, "all of the sample had changed");
  t.ok(facts.changedDeviation > 0);
});

t.test("two looks tell what was written between them", async (t) => {
  const core = await loadLegCore();
  const memory = new FakeMemory();
  memory.fill(0, 2000);
  const before = await lookAt(core, key, asGuest(memory), { budgetMs: 5000 });
  memory.fill(10, 50);
  memory.fill(3000, 20);
  const after = await lookAt(core, key, asGuest(memory), { budgetMs: 5000, share: before.share });
  t.equal(writtenBetween(before, after).bytes, 70 * pageBytes, "50 anew, 20 for the first time");
  t.equal(writtenBetween(after, after).bytes, 0);
  const part = await lookAt(core, key, asGuest(memory), { budgetMs: 0 });
  t.ok(writtenBetween(before, part).bytes <= 140 * pageBytes, "a part of the sample, scaled");
});

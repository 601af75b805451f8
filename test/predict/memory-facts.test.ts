import { randomBytes } from "node:crypto";
import t from "tap";
import type { CommonBase } from "../../cli/leg/common-base.ts";
import { loadLegCore } from "../../cli/leg/leg-core.ts";
import { type GuestMemory, PageState } from "../../cli/predict/guest-memory.ts";
import { measureMemory } from "../../cli/predict/memory-facts.ts";
import { lookAt, placeOf, writtenBetween } from "../../cli/predict/memory-look.ts";
import { PageDigests } from "../../src/generation/digest-tree.ts";
import { placeRegions } from "../../src/generation/geometry.ts";

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

  states(): Uint8Array {
    return Uint8Array.from({ length: pages }, (_, page) =>
      this.contents.has(page) ? PageState.own : PageState.untouched,
    );
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
  for (const [from, count] of [
    [0, 4096],
    [1000, 512],
    [2048, 2048],
  ]) {
    for (const share of [0.05, 0.25, 0.5]) {
      let chosen = 0;
      for (let page = from; page < from + count; page++) if (placeOf(page) < share) chosen++;
      t.ok(Math.abs(chosen - count * share) <= 8, `${chosen} of ${count} at ${share}`);
    }
  }
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

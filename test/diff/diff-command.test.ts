import { cpSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { diffCommand } from "../../cli/commands/diff.ts";
import type { DiffRange, DiffSummary } from "../../cli/diff/diff.ts";
import { firstMemory, ModelStore, nextMemory, page } from "../store/model-store.ts";
import { runInTest } from "../verify/command-output.ts";
import { DiskStore, flip } from "../verify/disk-store.ts";

/** Pages that differ, by comparing memories. */
function differing(a: Uint8Array, b: Uint8Array): number[] {
  const pages: number[] = [];
  for (let at = 0; at < a.length; at += page) {
    if (!Buffer.from(a.subarray(at, at + page)).equals(b.subarray(at, at + page))) pages.push(at / page);
  }
  return pages;
}

/** Pages of the ranges; those of the second region counted on from the first. */
function pagesOf(lines: readonly string[]): number[] {
  const ranges = lines
    .map((line) => JSON.parse(line))
    .filter(({ event }) => event === "range") as DiffRange[];
  return ranges.flatMap(({ name, first, count }) =>
    Array.from({ length: count }, (_, i) => first + i + (name === "vga.vram" ? 40 : 0)),
  );
}

const doneOf = (lines: readonly string[]) => JSON.parse(lines.at(-1) as string) as DiffSummary;

t.test("pages that differ, by digests and by contents, from folders and from numbers", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const chain = await model.addChain(3);
  for (const [a, b] of [
    [0, 1],
    [0, 3],
    [3, 1],
    [2, 2],
  ]) {
    const folders = [chain[a].directory, chain[b].directory];
    const numbers = [String(a + 1), String(b + 1), "--store", model.storePath, "--vm", "web1"];
    const expected = differing(
      model.memories.get(a + 1) as Uint8Array,
      model.memories.get(b + 1) as Uint8Array,
    );
    for (const args of [folders, numbers, [...folders, "--contents"]]) {
      const { lines, code } = await runInTest(t, diffCommand(), "--json", "--ranges", ...args);
      t.equal(code, 0);
      t.strictSame(pagesOf(lines), expected, `${a + 1} and ${b + 1}`);
      const { parts, device, generations } = doneOf(lines);
      t.strictSame(generations, [a + 1, b + 1]);
      t.equal(
        parts.reduce((sum, part) => sum + part.differing, 0),
        expected.length,
      );
      t.equal(device, a !== b);
    }
  }
});

t.test("the summary, and the ranges, for people", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const memory = firstMemory(model.memoryBytes);
  const first = await model.add(memory);
  const next = memory.slice();
  for (const at of [3, 4, 5, 9, 46]) next[at * page + 7] ^= 1;
  const second = await model.add(next, first);
  const folders = [first.directory, second.directory];
  const { lines } = await runInTest(t, diffCommand(), ...folders);
  t.equal(lines[0], "web1: generation 1 and generation 2, by their digests");
  t.ok(lines.some((line) => /^pc.ram +40 +4 +2 +16.0 KiB/.test(line)));
  t.ok(lines.includes(`  ${"·".repeat(3)}███···█${"·".repeat(30)}`), "a picture of the region");
  t.equal(lines.at(-1), "device state: the same");
  const ranges = await runInTest(t, diffCommand(), "--ranges", ...folders);
  t.strictSame(ranges.lines.slice(0, 3), ["pc.ram: pages 3 to 5", "pc.ram: page 9", "vga.vram: page 6"]);
});

t.test("contents tell what digests do not", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const memory = firstMemory(model.memoryBytes);
  const first = await model.add(memory);
  const second = await model.add(memory);
  const folders = [first.directory, second.directory];
  flip(join(second.directory, "ram.img"), 7 * page);
  const count = async (...more: string[]) =>
    pagesOf((await runInTest(t, diffCommand(), "--json", "--ranges", ...folders, ...more)).lines);
  t.strictSame(await count(), []);
  t.strictSame(await count("--contents"), [7]);
});

t.test("blocks of disks that differ", async (t) => {
  const store = await DiskStore.create(t.testdir());
  const [first, second, third] = store.chain.map(({ directory }) => directory);
  const ranges = async (...args: string[]) => {
    const { lines, code, diagnostics } = await runInTest(t, diffCommand(), "--json", "--ranges", ...args);
    t.equal(code, 0, diagnostics);
    return lines
      .map((line) => JSON.parse(line))
      .filter(({ event, kind }) => event === "range" && kind === "disk")
      .map(({ name, first, count }) => `${name} ${first}+${count}`);
  };
  const key = `${store.model.storePath}.keys/web1.key`;
  for (const more of [[], ["--contents"], ["--key", key]]) {
    t.strictSame(await ranges(first, second, ...more), ["disk0 12+2", "disk0 100+1", "data 9+1"]);
    t.strictSame(await ranges(second, third, ...more), [
      "disk0 12+1",
      "disk0 20+1",
      "disk0 280+1",
      "data 9+1",
    ]);
    t.strictSame(await ranges(third, third, ...more), []);
  }
  renameSync(`${store.model.storePath}.keys`, join(t.testdirName, "elsewhere"));
  t.match(await runInTest(t, diffCommand(), first, second), {
    code: 2,
    diagnostics: /^bfmig: Cannot compare web1: its digest key .* is missing/,
  });
  t.equal((await ranges(first, second, "--contents")).length, 3, "contents need no key");
});

t.test("generations that cannot be compared", async (t) => {
  const folder = t.testdir({ one: {}, two: {}, three: {}, four: {} });
  const [one, two, three] = await Promise.all([
    ModelStore.create(join(folder, "one")),
    ModelStore.create(join(folder, "two"), "web2"),
    ModelStore.create(join(folder, "three"), "web1", [
      { name: "pc.ram", kind: "ram", lengthBytes: 8 * page },
    ]),
  ]);
  const [here] = await one.addChain(0);
  const [other] = await two.addChain(0);
  const smaller = await three.add(new Uint8Array(8 * page));
  const compare = async (a: string, b: string, ...more: string[]) =>
    await runInTest(t, diffCommand(), a, b, ...more);
  t.match(await compare(here.directory, other.directory), {
    code: 2,
    diagnostics: /they are of different VMs/,
  });
  t.match(await compare(here.directory, smaller.directory), {
    code: 2,
    diagnostics: /their RAM differs: pc.ram \(163840\), vga.vram \(28672\) and pc.ram \(32768\)/,
  });
  const copy = join(folder, "four", "store");
  cpSync(one.storePath, copy, { recursive: true });
  cpSync(`${one.storePath}.keys`, `${copy}.keys`, { recursive: true });
  const copied = join(copy, "web1", "generations", "1");
  t.equal((await compare(here.directory, copied)).code, 0, "two sites' stores of one VM");
  writeFileSync(`${copy}.keys/web1.key`, "00".repeat(32));
  t.match(await compare(here.directory, copied), { code: 2, diagnostics: /different VMs of the same name/ });
  const withDisks = await DiskStore.create(join(folder, "three"));
  t.match(await compare(here.directory, withDisks.chain[0].directory), {
    code: 2,
    diagnostics: /their disks differ/,
  });
});

t.test("damage and wrong use", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const first = await model.add(firstMemory(model.memoryBytes));
  const second = await model.add(nextMemory(firstMemory(model.memoryBytes), 1), first);
  const folders = [first.directory, second.directory];
  const store = ["--store", model.storePath];
  t.match(await runInTest(t, diffCommand(), "1", "2", ...store), {
    code: 2,
    diagnostics: /give both --store and --vm/,
  });
  t.match(await runInTest(t, diffCommand(), "1", "x", ...store, "--vm", "web1"), { code: 2 });
  t.match(await runInTest(t, diffCommand(), "1", "3", ...store, "--vm", "web1"), {
    code: 2,
    diagnostics: /no generation 3 of web1/,
  });
  t.match(await runInTest(t, diffCommand(), folders[0], model.storePath), { code: 2 });
  const digests = join(second.directory, "digests");
  writeFileSync(digests, readFileSync(digests).subarray(16));
  t.match(await runInTest(t, diffCommand(), ...folders), { code: 5, diagnostics: /736 bytes, 752 expected/ });
  t.equal((await runInTest(t, diffCommand(), ...folders, "--contents")).code, 0);
  rmSync(join(first.directory, "ram.img"));
  t.match(await runInTest(t, diffCommand(), ...folders, "--contents"), { code: 5, diagnostics: /ENOENT/ });
  writeFileSync(join(first.directory, "manifest.json"), "{}");
  t.match(await runInTest(t, diffCommand(), ...folders), { code: 5, diagnostics: /is not usable/ });
});

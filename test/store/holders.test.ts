import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { Holders } from "../../cli/store/holders.ts";
import { loadCore } from "../../src/core.ts";

const core = await loadCore();
const id = (generation: number, byte: string) => ({ generation, root: byte.repeat(32) });
const digestsOf = (seed: number) => ({
  digests: new Uint8Array(48).fill(seed),
  deviceDigest: new Uint8Array(32).fill(seed + 1),
});

t.test("the newest generation of each site is remembered, older news is not", async (t) => {
  const holders = new Holders(t.testdir());
  t.equal((await holders.list()).size, 0);
  await holders.record("a", id(3, "aa"));
  await holders.record("b", id(1, "bb"));
  await holders.record("a", id(2, "cc"));
  t.strictSame(Object.fromEntries(await holders.list()), { a: id(3, "aa"), b: id(1, "bb") });
  await holders.record("a", id(3, "dd"));
  t.strictSame((await holders.list()).get("a"), id(3, "dd"), "the same number with another root replaces");
});

t.test("digests come back, until nobody holds that generation any more", async (t) => {
  const folder = t.testdir();
  const holders = new Holders(folder);
  await holders.keepDigests(core, id(3, "aa"), digestsOf(3));
  await holders.record("a", id(3, "aa"));
  t.strictSame(await holders.readDigests(core, id(3, "aa")), digestsOf(3));
  t.equal(await holders.readDigests(core, id(3, "bb")), null);
  await holders.record("a", id(4, "bb"));
  t.equal(await holders.readDigests(core, id(3, "aa")), null);
  t.strictSame(readdirSync(join(folder, "holders")), ["a.json"]);
});

t.test("every flipped bit and every truncation of kept digests is found", async (t) => {
  const folder = t.testdir();
  const holders = new Holders(folder);
  await holders.keepDigests(core, id(3, "aa"), digestsOf(3));
  const path = join(folder, "holders", `${"aa".repeat(32)}.digests`);
  const bytes = readFileSync(path);
  for (let at = 0; at < bytes.length; at++) {
    const damaged = Buffer.from(bytes);
    damaged[at] ^= 1 << (at & 7);
    writeFileSync(path, damaged);
    if ((await holders.readDigests(core, id(3, "aa"))) !== null) t.fail(`byte ${at} flipped`);
    writeFileSync(path, bytes.subarray(0, at));
    if ((await holders.readDigests(core, id(3, "aa"))) !== null) t.fail(`cut at ${at}`);
  }
  t.ok(existsSync(path));
});

t.test("records that are damaged, or named like no site, are left out", async (t) => {
  const folder = t.testdir();
  mkdirSync(join(folder, "holders"));
  const put = (name: string, text: string) => writeFileSync(join(folder, "holders", name), text);
  put("a.json", JSON.stringify(id(1, "aa")));
  put("b.json", "{");
  put("c.json", JSON.stringify({ ...id(1, "aa"), more: 1 }));
  put("d.json", JSON.stringify({ generation: 0, root: "aa".repeat(32) }));
  put("UP.json", JSON.stringify(id(1, "aa")));
  put("note.txt", "x");
  t.strictSame([...(await new Holders(folder).list()).keys()], ["a"]);
});

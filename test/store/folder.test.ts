import { existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { makeFolder, namesIn, removeFolder, removePartials } from "../../cli/store/folder.ts";

t.test("a folder is made with those above it, for us alone, and may be there already", async (t) => {
  const path = join(t.testdir(), "a", "b", "c");
  await makeFolder(path);
  await makeFolder(path);
  for (const made of [path, join(path, ".."), join(path, "../..")])
    t.equal(statSync(made).mode & 0o777, 0o700);
});

t.test("a folder cannot be made in place of a file", async (t) => {
  const folder = t.testdir({ a: "" });
  await t.rejects(makeFolder(join(folder, "a")), { code: "EEXIST" });
  await t.rejects(makeFolder(join(folder, "a", "b")), { code: "ENOTDIR" });
});

t.test("a removed folder is gone with all that was in it, and need not be there", async (t) => {
  const folder = t.testdir({ 1: { "ram.img": "x", more: { deep: "y" } }, 2: {} });
  await removeFolder(join(folder, "1"));
  await removeFolder(join(folder, "1"));
  t.strictSame(readdirSync(folder), ["2"]);
});

t.test("only what was never completed is removed", async (t) => {
  const folder = t.testdir({ a: "", ".partial-a": "", ".partialb": "" });
  mkdirSync(join(folder, ".partial-leg"));
  writeFileSync(join(folder, ".partial-leg", "ram.img"), "x");
  t.equal(await removePartials(folder), 2);
  t.equal(await removePartials(folder), 0);
  t.strictSame((await namesIn(folder)).sort(), [".partialb", "a"]);
  t.equal(await removePartials(join(folder, "missing")), 0);
  t.notOk(existsSync(join(folder, "missing")));
});

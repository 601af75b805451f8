import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { ResultStore } from "./result-store.ts";

const key = { method: "plain", link: { rttMs: 40, megabitsPerSecond: 100 }, program: "abc" };

t.test("a result is found again by its name and key, also by another process", (t) => {
  const folder = join(t.testdir(), "results");
  const store = ResultStore.open<number[]>(folder, { fresh: false });
  t.equal(store.read("cell", key), null, "nothing is there at first");
  store.write("cell", key, [1, 2]);
  const again = ResultStore.open<number[]>(folder, { fresh: false });
  t.same(again.read("cell", key), [1, 2]);
  const reordered = { program: "abc", link: { megabitsPerSecond: 100, rttMs: 40 }, method: "plain" };
  t.same(again.read("cell", reordered), [1, 2], "the order of members does not matter");
  t.same(readdirSync(folder), ["cell.json"], "nothing else is left");
  t.end();
});

t.test("a result of another program, link or method is none", (t) => {
  const store = ResultStore.open<number>(t.testdir(), { fresh: false });
  store.write("cell", key, 1);
  for (const other of [
    { ...key, program: "abd" },
    { ...key, link: { ...key.link, rttMs: 41 } },
    { ...key, more: 1 },
    { method: "plain" },
  ]) {
    t.equal(store.read("cell", other), null, JSON.stringify(other));
  }
  store.write("cell", { ...key, program: "abd" }, 2);
  t.equal(store.read("cell", key), null, "the new one is in the old one's place");
  t.equal(store.read("cell", { ...key, program: "abd" }), 2);
  t.end();
});

t.test("a damaged file counts as not there", (t) => {
  const folder = t.testdir();
  const store = ResultStore.open<number>(folder, { fresh: false });
  for (const text of ["", "{", "null", "[]", '{"key": 1}', JSON.stringify({ key }).slice(0, -4)]) {
    writeFileSync(join(folder, "cell.json"), text);
    t.equal(store.read("cell", key), null, text);
  }
  store.write("cell", key, 3);
  t.equal(store.read("cell", key), 3);
  t.end();
});

t.test("to begin anew removes results and nothing else", (t) => {
  const folder = t.testdir({ "package.json": '{"name": "x"}', "notes.txt": "" });
  ResultStore.open<number>(folder, { fresh: false }).write("cell", key, 1);
  const store = ResultStore.open<number>(folder, { fresh: true });
  t.equal(store.read("cell", key), null);
  t.ok(existsSync(join(folder, "package.json")));
  t.ok(existsSync(join(folder, "notes.txt")));
  t.end();
});

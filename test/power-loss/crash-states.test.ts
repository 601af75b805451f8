import t from "tap";
import { type Change, CrashModel, type Fate, fatesOf, type State, seededRandom } from "./crash-states.ts";
import type { Operation } from "./operations.ts";
import { WatchedTree } from "./watched-tree.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

/** What a state has, with files as text; zeroes as dots. */
function told(state: State): Record<string, string | null> {
  const text = (content: Uint8Array) => new TextDecoder().decode(content).replaceAll("\0", ".");
  return Object.fromEntries([...state].map(([path, file]) => [path, file && text(file.content())]));
}

/** A model, and a way to give what is pending of some kind one fate. */
function modelOf(operations: readonly Operation[]) {
  const model = new CrashModel(operations);
  const at = (count: number, fate: (change: Change) => Fate = () => "lost") => {
    const fates = new Map(model.pending(count).map((change) => [change.seq, fate(change)]));
    return told(model.state(count, fates));
  };
  return { model, at, count: operations.length };
}

t.test("what is not synced may be there or not, each change for itself", async (t) => {
  const tree = new WatchedTree();
  const node = tree.make("a", false);
  tree.write(node, 0, bytes("one"));
  tree.write(node, 3, bytes("two"));
  const { model, at, count } = modelOf(tree.operations);
  t.equal(model.pending(count).length, 3);
  t.strictSame(at(count), {});
  t.strictSame(
    at(count, () => "kept"),
    { a: "onetwo" },
  );
  t.strictSame(
    at(count, ({ kind }) => (kind === "enter" ? "kept" : "lost")),
    { a: "" },
  );
  t.strictSame(
    at(count, ({ seq }) => (seq === 1 ? "lost" : "kept")),
    { a: "...two" },
  );
  t.strictSame(
    at(count, ({ kind }) => (kind === "enter" ? "kept" : "length")),
    { a: "......" },
  );
  t.strictSame(
    at(1, () => "kept"),
    { a: "" },
    "later changes were not made yet",
  );
});

t.test(
  "a synced file has its data but not its name, and a synced folder its names but no data",
  async (t) => {
    const tree = new WatchedTree();
    const node = tree.make("a", false);
    tree.write(node, 0, bytes("data"));
    tree.sync(node, tree.operations.length);
    const file = modelOf(tree.operations);
    t.strictSame(file.at(file.count), {});
    t.strictSame(
      file.at(file.count, () => "kept"),
      { a: "data" },
    );
    const names = new WatchedTree();
    names.write(names.make("a", false), 0, bytes("data"));
    names.sync(0, names.operations.length);
    const folder = modelOf(names.operations);
    t.strictSame(folder.at(folder.count), { a: "" });
  },
);

t.test("a sync covers what had ended before it began, and counts when it has returned", async (t) => {
  const tree = new WatchedTree();
  const node = tree.make("a", false);
  tree.sync(0, tree.operations.length);
  tree.write(node, 0, bytes("early"));
  const covered = tree.operations.length;
  tree.write(node, 5, bytes("late"));
  tree.sync(node, covered);
  const { at, count } = modelOf(tree.operations);
  t.strictSame(at(count), { a: "early" });
  t.strictSame(at(count - 1), { a: "" });
});

t.test("a new folder is lost with all that was synced in it until its own name is synced", async (t) => {
  const tree = new WatchedTree();
  const folder = tree.make("f", true);
  const node = tree.make("f/a", false);
  tree.write(node, 0, bytes("x"));
  tree.sync(node, tree.operations.length);
  tree.sync(folder, tree.operations.length);
  const before = modelOf(tree.operations);
  t.strictSame(before.at(before.count), {});
  tree.sync(0, tree.operations.length);
  const after = modelOf(tree.operations);
  t.strictSame(after.at(after.count), { f: null, "f/a": "x" });
});

t.test("a rename is made or not, never in part, and takes the place of what had the name", async (t) => {
  const tree = new WatchedTree();
  const old = tree.make("a", false);
  tree.write(old, 0, bytes("old"));
  tree.sync(old, tree.operations.length);
  const beside = tree.make("b", false);
  tree.write(beside, 0, bytes("new"));
  tree.sync(beside, tree.operations.length);
  tree.sync(0, tree.operations.length);
  tree.rename("b", "a");
  const { at, count } = modelOf(tree.operations);
  t.strictSame(at(count), { a: "old", b: "new" });
  t.strictSame(
    at(count, () => "kept"),
    { a: "new" },
  );
  tree.remove("a");
  const removed = modelOf(tree.operations);
  t.strictSame(
    removed.at(removed.count, ({ kind }) => (kind === "leave" ? "kept" : "lost")),
    { b: "new" },
  );
});

t.test("a torn write has its length and some of its sectors", async (t) => {
  const tree = new WatchedTree();
  const node = tree.make("a", false);
  tree.write(node, 100, new Uint8Array(8192).fill(65));
  const { at, count } = modelOf(tree.operations);
  const { a } = at(count, ({ kind }) => (kind === "enter" ? "kept" : "torn"));
  t.equal(a?.length, 8292);
  t.match(a, /AAA\.\.\./);
  t.match(a, /\.\.\.AAA/);
});

t.test("all subsets are tried where they are few, and the extremes always", async (t) => {
  const tree = new WatchedTree();
  const node = tree.make("a", false);
  for (let i = 0; i < 9; i++) tree.write(node, i, bytes(String(i)));
  const { model, count } = modelOf(tree.operations);
  const contents = (number: number, samples: number) => {
    const all = [...fatesOf(model.pending(number), seededRandom(1), samples)];
    return new Set(all.map((fates) => JSON.stringify(told(model.state(number, fates)))));
  };
  t.strictSame(
    [...contents(3, 8)].sort(),
    ['{"a":""}', '{"a":".."}', '{"a":".1"}', '{"a":"0"}', '{"a":"0."}', '{"a":"01"}', "{}"].sort(),
  );
  const many = contents(count, 4);
  for (const extreme of ["{}", '{"a":""}', '{"a":"012345678"}', '{"a":"........."}'])
    t.ok(many.has(extreme), extreme);
  t.strictSame(contents(count, 20), contents(count, 20), "the same each time");
});

import t from "tap";
import { groupFiles } from "../../cli/web/verify-page/group-files.ts";

/** Groups paths; the content of a file is its path. */
const group = (...paths: string[]) => groupFiles(paths.map((path) => ({ path, file: path })));

/** The folders of each chain. */
const chainsOf = (...paths: string[]) =>
  group(...paths).chains.map(({ name, generations }) => [name, ...generations.map((one) => one.name)]);

t.test("folders of one store make one chain, in the order of their numbers", async (t) => {
  const paths = [10, 9, 1].map((number) => `web1/generations/${number}/manifest.json`);
  t.strictSame(chainsOf(...paths), [
    ["web1/generations", "web1/generations/1", "web1/generations/9", "web1/generations/10"],
  ]);
});

t.test("VMs and branches are chains of their own", async (t) => {
  t.strictSame(
    chainsOf(
      "s/b/generations/1/manifest.json",
      "s/a/generations/1/manifest.json",
      "s/a/branches/3-b/manifest.json",
    ),
    [
      ["s/a/branches", "s/a/branches/3-b"],
      ["s/a/generations", "s/a/generations/1"],
      ["s/b/generations", "s/b/generations/1"],
    ],
  );
});

t.test("a folder that lost its manifest is a generation all the same", async (t) => {
  t.strictSame(chainsOf("2/ram.img", "2/delta"), [["", "2"]]);
});

t.test("files without a folder make a generation if they are more than one needs", async (t) => {
  t.strictSame(chainsOf("manifest.json", "ram.img", "digests", "device"), [["", ""]]);
  const { files } = group("manifest.json", "ram.img").chains[0].generations[0];
  t.strictSame(
    [...files],
    [
      ["manifest.json", "manifest.json"],
      ["ram.img", "ram.img"],
    ],
  );
  t.strictSame(chainsOf("manifest.json"), []);
});

t.test("a delta, a device file or a manifest stands by itself", async (t) => {
  const { chains, looseFiles, ignored } = group("manifest.json", "2/delta", "3/device");
  t.strictSame(chains, []);
  t.strictSame(
    looseFiles.map(({ path }) => path),
    ["manifest.json", "2/delta", "3/device"],
  );
  t.equal(ignored, 0);
});

t.test("an image alone is of no use, and says so by being left out", async (t) => {
  const { chains, looseFiles, ignored } = group("ram.img");
  t.strictSame([chains, looseFiles, ignored], [[], [], 1]);
});

t.test("keys are kept apart, other files of a store are left out, a named file is looked at", async (t) => {
  const { keys, ignored, looseFiles } = group(
    "s.keys/web1.key",
    "s/web1/vm.yaml",
    "s/web1/ownership",
    "my-delta",
  );
  t.strictSame(
    keys.map(({ path }) => path),
    ["s.keys/web1.key"],
  );
  t.equal(ignored, 2);
  t.strictSame(
    looseFiles.map(({ path }) => path),
    ["my-delta"],
  );
});

t.test("what was never completed is left out", async (t) => {
  const { chains, looseFiles, ignored } = group(
    "generations/.partial-leg/manifest.json",
    "generations/.partial-leg/delta",
  );
  t.strictSame([chains, looseFiles, ignored], [[], [], 2]);
});

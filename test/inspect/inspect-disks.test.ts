import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { inspectCommand } from "../../cli/commands/inspect.ts";
import { runInTest } from "../verify/command-output.ts";
import { DiskStore, shapes } from "../verify/disk-store.ts";

t.test("a manifest with disks names their images", async (t) => {
  const store = await DiskStore.create(t.testdir());
  const { directory, manifest } = store.chain[1];
  const { lines, code } = await runInTest(t, inspectCommand(), join(directory, "manifest.json"));
  t.equal(code, 0);
  t.match(lines[0], /^Manifest of generation 2 of web1, format 2/);
  for (const { name, image } of manifest.disks) {
    t.ok(lines.some((line) => line.includes(name) && line.includes(image)));
  }
});

t.test("a delta with frames of disks says which, and what of each", async (t) => {
  const store = await DiskStore.create(t.testdir());
  const path = join(store.chain[2].directory, "delta");
  const { lines } = await runInTest(t, inspectCommand(), path);
  t.ok(lines.some((line) => /of these disk 0, disk0: zero 1, /.test(line)));
  t.ok(lines.some((line) => /of these disk 1, data: /.test(line)));
  const json = (await runInTest(t, inspectCommand(), "--json", path)).lines.map((line) => JSON.parse(line));
  t.strictSame(
    json.filter(({ kind }) => kind === "pages").map(({ regionName }) => regionName),
    ["pc.ram", "disk 0", "disk 1"],
  );
  t.match(json.at(-1), { kind: "frames", disks: [{ name: "disk0" }, { name: "data" }] });
  const alone = join(t.testdirName, "delta");
  writeFileSync(alone, readFileSync(path));
  const without = (await runInTest(t, inspectCommand(), "--json", alone)).lines.map((line) =>
    JSON.parse(line),
  );
  t.strictSame(
    without.filter(({ kind }) => kind === "pages").map(({ region, regionName }) => [region, regionName]),
    [
      [0, null],
      [2, null],
      [3, null],
    ],
    "only the manifest knows the names",
  );
});

t.test("an image's descriptor: its files and what it stands on", async (t) => {
  const store = await DiskStore.create(t.testdir());
  const path = store.image(3, "json");
  const ids = store.chain.map(({ manifest }) => manifest.disks[0].image);
  const { lines } = await runInTest(t, inspectCommand(), path);
  t.match(lines[0], new RegExp(`^Image ${ids[2]} of disk disk0`));
  t.ok(lines.some((line) => line.includes(`${ids[1]}, then ${ids[0]}`)));
  const json = JSON.parse((await runInTest(t, inspectCommand(), "--json", path)).lines[0]);
  t.match(json, {
    kind: "image-descriptor",
    descriptor: { id: ids[2], disk: "disk0" },
    file: { path: store.image(3, "qcow2"), bytes: Number },
    below: [ids[1], ids[0]],
  });
  rmSync(store.image(3, "qcow2"));
  t.ok((await runInTest(t, inspectCommand(), path)).lines.some((line) => /which is missing/.test(line)));
  writeFileSync(path, "{}");
  t.match(await runInTest(t, inspectCommand(), path), { code: 1, diagnostics: /missing or damaged/ });
});

t.test("a file of digests: its levels, and what it has of each", async (t) => {
  const store = await DiskStore.create(t.testdir());
  const path = store.image(2, "digests");
  const { lines } = await runInTest(t, inspectCommand(), "--json", path);
  t.match(JSON.parse(lines[0]), {
    kind: "block-digests",
    descriptor: { disk: "disk0", lengthBytes: shapes[0].lengthBytes },
    levels: [
      { level: 0, offset: 0, entries: 300, present: 3 },
      { level: 1, offset: 8192, entries: 5, present: 2 },
      { level: 2, offset: 12288, entries: 1, present: 1 },
    ],
  });
  const text = await runInTest(t, inspectCommand(), path);
  t.match(text.lines[0], /^Block digests of image disk0-/);
  writeFileSync(path, "cut");
  t.match(await runInTest(t, inspectCommand(), path), {
    code: 1,
    diagnostics: /it has 3 bytes, 16384 expected/,
  });
  rmSync(store.image(2, "json"));
  t.match(await runInTest(t, inspectCommand(), path), {
    code: 2,
    diagnostics: /no descriptor beside it names it/,
  });
});

t.test("disks.json: what the VM writes to", async (t) => {
  const store = await DiskStore.create(t.testdir());
  const { images, path } = store.model.store;
  const [first, second] = store.chain[2].manifest.disks.map(({ image }) => image);
  await images.setCurrent({ format: 1, images: { disk0: first }, aside: [second] });
  const file = join(path, "disks.json");
  const { lines } = await runInTest(t, inspectCommand(), file);
  t.ok(lines.some((line) => line.includes("disk0") && line.includes(first)));
  t.ok(lines.includes(`Set aside by recover: ${second}`));
  const json = await runInTest(t, inspectCommand(), "--json", file);
  t.match(JSON.parse(json.lines[0]), { kind: "current-disks", current: { images: { disk0: first } } });
  writeFileSync(file, "{}");
  t.match(await runInTest(t, inspectCommand(), file), { code: 1, diagnostics: /Cannot trust/ });
  const elsewhere = join(t.testdirName, "elsewhere");
  mkdirSync(elsewhere);
  renameSync(store.image(1, "json"), join(elsewhere, "one.json"));
  t.match(await runInTest(t, inspectCommand(), join(elsewhere, "one.json")), { code: 1 });
});

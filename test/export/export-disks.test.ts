import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { exportCommand } from "../../cli/commands/export.ts";
import { openContent } from "../../cli/disk/image-content.ts";
import { missingPrograms, qemuImg } from "../disk/qemu-images.ts";
import { runInTest } from "../verify/command-output.ts";
import { block, DiskStore, flip, placeInImage, shapes } from "../verify/disk-store.ts";

/** What a generation's disk reads as. */
async function contentOf(store: DiskStore, generation: number, disk: number): Promise<Uint8Array> {
  const { image } = store.chain[generation - 1].manifest.disks[disk];
  const chain = await openContent(store.model.store.images, image);
  const bytes = new Uint8Array(chain.blocks * block);
  chain.readBlocks(bytes, 0, 0, chain.blocks);
  chain.close();
  return bytes.subarray(0, chain.lengthBytes);
}

const exported = (store: DiskStore, generation: number, ...more: string[]) => [
  ...["web1", "--store", store.model.storePath, "--generation", String(generation), ...more],
];

t.test(
  "disks of each generation, raw and qcow2, each standing alone",
  { skip: missingPrograms },
  async (t) => {
    const store = await DiskStore.create(t.testdir());
    for (const generation of [1, 2, 3]) {
      const out = join(t.testdirName, `out-${generation}`);
      for (const format of ["raw", "qcow2"]) {
        const args = exported(store, generation, "--force", "--disk-format", format, "--out", out);
        t.equal((await runInTest(t, exportCommand(), ...args)).code, 0);
      }
      for (const [i, { name }] of shapes.entries()) {
        const [raw, qcow2] = ["raw", "qcow2"].map((format) => join(out, `disk-${name}.${format}`));
        t.ok(readFileSync(raw).equals(await contentOf(store, generation, i)), `${name} of ${generation}`);
        t.equal(spawnSync("qemu-img", ["check", qcow2]).status, 0);
        t.match(qemuImg("compare", "-f", "raw", "-F", "qcow2", raw, qcow2), /identical/);
        t.notMatch(qemuImg("info", qcow2), /backing/);
      }
    }
  },
);

t.test("the disks of a branch, from its folder", async (t) => {
  const store = await DiskStore.create(t.testdir());
  const { branches } = store.model.store;
  const content = await contentOf(store, 1, 0);
  await branches.prepare();
  await branches.takeMemory(store.chain[0].directory, "3-b");
  const out = join(t.testdirName, "out");
  const args = [join(branches.path, "3-b"), "--disk-format", "raw", "--out", out];
  t.equal((await runInTest(t, exportCommand(), ...args)).code, 0);
  t.ok(readFileSync(join(out, `disk-${shapes[0].name}.raw`)).equals(content));
});

t.test("a damaged block is found and named", async (t) => {
  const store = await DiskStore.create(t.testdir());
  const path = store.image(2, "qcow2");
  flip(path, placeInImage(path, 13).data + 9);
  const out = join(t.testdirName, "out");
  const refused = await runInTest(t, exportCommand(), ...exported(store, 3, "--out", out));
  t.equal(refused.code, 5);
  t.match(refused.lines, [/^disk0: block 13: not the content/]);
  t.strictSame(readdirSync(out), []);
  t.equal(
    (await runInTest(t, exportCommand(), ...exported(store, 1, "--out", out))).code,
    0,
    "below it all is well",
  );
});

t.test("a block that has become a hole is found", async (t) => {
  const store = await DiskStore.create(t.testdir());
  const path = store.image(1, "qcow2");
  const bytes = readFileSync(path);
  bytes.fill(0, placeInImage(path, 270).entry, placeInImage(path, 270).entry + 8);
  writeFileSync(path, bytes);
  const { code, lines } = await runInTest(
    t,
    exportCommand(),
    ...exported(store, 1, "--out", join(t.testdirName, "out")),
  );
  t.equal(code, 5);
  t.match(lines[0], /^disk0: block/);
});

t.test("images that are missing or cannot be read", async (t) => {
  const store = await DiskStore.create(t.testdir());
  const run = async (...more: string[]) =>
    await runInTest(t, exportCommand(), ...exported(store, 2, "--out", join(t.testdirName, "out"), ...more));
  writeFileSync(store.image(2, "digests"), "cut");
  t.match(await run(), { code: 5, lines: [/^disk0: Cannot use .*digests: 3 bytes/] });
  t.equal((await run("--damaged")).code, 0, "digests are not needed to write what is there");
  rmSync(store.image(1, "qcow2"));
  t.match(await run("--damaged", "--force"), {
    code: 5,
    diagnostics: /Cannot export generation 2 of web1: ENOENT/,
  });
});

import {
  appendFileSync,
  copyFileSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import t from "tap";
import type { ImageDescriptor } from "../../cli/disk/image-store.ts";
import { encodeManifest } from "../../src/generation/manifest.ts";
import { block, DiskStore, flip, placeInImage, shapes } from "./disk-store.ts";
import { blockOf, buildImage } from "./leg-disks.ts";

function rewrite(path: string, change: Partial<ImageDescriptor>): void {
  writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, "utf8")), ...change }));
}

t.test("missing, cut, lengthened and altered files are found, and whom they concern", async (t) => {
  const store = await DiskStore.create(t.testdir());
  const kept = join(t.testdirName, "kept");
  const cases: [what: RegExp, path: string, damage: (path: string) => void, restorable: boolean[]][] = [
    [/missing/, store.image(1, "qcow2"), rmSync, [false, false, false]],
    [/missing/, store.image(2, "digests"), rmSync, [true, false, false]],
    [/missing/, store.image(3, "json"), rmSync, [true, true, false]],
    [/missing/, store.image(2, "json", 1), rmSync, [true, false, false]],
    [
      /bytes, .* expected/,
      store.image(2, "digests"),
      (path) => appendFileSync(path, "x"),
      [true, false, false],
    ],
    [/not a valid descriptor/, store.image(2, "json"), (path) => flip(path, 3), [true, false, false]],
    [
      /not a valid descriptor/,
      store.image(2, "json"),
      (path) => writeFileSync(path, "{}"),
      [true, false, false],
    ],
    [
      /too many/,
      store.image(3, "json"),
      (path) => writeFileSync(path, " ".repeat(70_000)),
      [true, true, false],
    ],
    [
      /image of disk data/,
      store.image(3, "json"),
      (path) => rewrite(path, { disk: "data" }),
      [true, true, false],
    ],
    [
      /a disk of 4096 bytes/,
      store.image(3, "json"),
      (path) => rewrite(path, { lengthBytes: block }),
      [true, true, false],
    ],
    [
      /names no digests/,
      store.image(3, "json"),
      (path) => rewrite(path, { digests: null }),
      [true, true, false],
    ],
    [
      /more than 64 images/,
      store.image(1, "json"),
      (path) => rewrite(path, { backing: store.chain[0].manifest.disks[0].image }),
      [false, false, false],
    ],
    [
      /not a regular file/,
      store.image(3, "qcow2"),
      (path) => {
        rmSync(path);
        mkdirSync(path);
      },
      [true, true, false],
    ],
  ];
  for (const [what, path, damage, restorable] of cases) {
    copyFileSync(path, kept);
    damage(path);
    for (const quick of [false, true]) {
      const { findings, vms } = await store.verify({ quick });
      t.ok(
        findings.some((finding) => finding.path === path && what.test(finding.problem)),
        `${path}: ${what}`,
      );
      t.equal(
        findings.filter(({ path: at, problem }) => at === path && what.test(problem)).length,
        1,
        "told once",
      );
      t.strictSame(
        vms[0].generations.map((generation) => generation.restorable),
        restorable,
        String(what),
      );
    }
    rmSync(path, { recursive: true, force: true });
    copyFileSync(kept, path);
  }
  t.strictSame((await store.verify()).findings, [], "all put back");
});

t.test("an image whose file is of another disk's size", async (t) => {
  const store = await DiskStore.create(t.testdir());
  const path = store.image(3, "qcow2");
  writeFileSync(path, buildImage(block * 8, new Map(), null));
  t.match((await store.verify()).findings, [{ path, disk: "disk0", problem: /its disk has 32768 bytes/ }]);
});

t.test("symbolic links in the store are reported and never followed", async (t) => {
  const store = await DiskStore.create(t.testdir());
  const outside = join(t.testdirName, "outside");
  mkdirSync(outside);
  const links = [store.image(1, "qcow2"), store.image(2, "digests", 1), store.image(3, "json")];
  for (const [i, path] of links.entries()) {
    renameSync(path, join(outside, String(i)));
    symlinkSync(join(outside, String(i)), path);
  }
  const stray = join(store.imagesPath, "stray");
  symlinkSync(outside, stray);
  const { findings } = await store.verify();
  const linked = findings.filter(({ problem }) => /symbolic link/.test(problem)).map(({ path }) => path);
  t.strictSame(linked.sort(), [...links, stray].sort());
  t.strictSame(await store.restorable(), [false, false, false]);
});

t.test("a folder of images that is a symbolic link is not followed", async (t) => {
  const store = await DiskStore.create(t.testdir());
  const { imagesPath } = store;
  const outside = join(t.testdirName, "outside");
  renameSync(imagesPath, outside);
  symlinkSync(outside, imagesPath);
  const { findings } = await store.verify();
  t.ok(findings.some(({ path, problem }) => path === imagesPath && /symbolic link/.test(problem)));
  t.strictSame(await store.restorable(), [false, false, false]);
});

t.test("an image that the operator gave may be named by a link, and may stand on others", async (t) => {
  const store = await DiskStore.createEmpty(t.testdir(), [shapes[0]]);
  const folder = join(t.testdirName, "outside");
  mkdirSync(folder);
  const { lengthBytes } = shapes[0];
  const below = new Map([[3, blockOf(3)]]);
  const content = new Map([...below, [5, blockOf(5)]]);
  const paths = {
    given: join(folder, "given.qcow2"),
    below: join(folder, "below.raw"),
    link: join(folder, "link"),
  };
  const raw = new Uint8Array(lengthBytes);
  raw.set(blockOf(3), 3 * block);
  writeFileSync(paths.below, raw);
  await store.add([
    {
      content,
      make: () =>
        writeFileSync(
          paths.given,
          buildImage(lengthBytes, content, below, { file: "below.raw", format: "raw" }),
        ),
    },
  ]);
  symlinkSync(paths.given, paths.link);
  rewrite(store.image(1, "json"), { file: paths.link });
  t.strictSame((await store.verify()).findings, []);
  raw[3 * block] ^= 1;
  raw[9 * block] ^= 1;
  writeFileSync(paths.below, raw);
  t.match((await store.verify()).findings, [
    { path: paths.below, disk: "disk0", block: 3, offset: 3 * block, problem: /does not have its digest/ },
    { path: paths.below, disk: "disk0", block: 9, offset: 9 * block, problem: /says that it is zero/ },
  ]);
  rmSync(paths.below);
  t.match((await store.verify()).findings, [{ path: paths.below, problem: "the file is missing" }]);
  rmSync(paths.link);
  t.match((await store.verify()).findings, [{ path: paths.link, problem: "the file is missing" }]);
  t.strictSame(await store.restorable(), [false]);
});

t.test("what the VM writes to is checked as far as a running VM lets it be", async (t) => {
  const store = await DiskStore.create(t.testdir());
  const { images } = store.model.store;
  const path = join(store.model.store.path, "disks.json");
  const newest = store.chain[2].manifest.disks[0].image;
  const active = images.describe("disk0", shapes[0].lengthBytes, newest);
  await images.write(active);
  writeFileSync(images.pathOf(active), "QEMU may be writing to it");
  await images.setCurrent({ format: 1, images: { disk0: active.id }, aside: [] });
  t.strictSame((await store.verify()).findings, []);
  t.strictSame((await store.verify()).notes, []);
  rmSync(images.pathOf(active));
  t.match((await store.verify()).findings, [{ path: images.pathOf(active), problem: "the file is missing" }]);
  rmSync(join(store.imagesPath, `${active.id}.json`));
  t.match((await store.verify()).findings, [
    { path: join(store.imagesPath, `${active.id}.json`), problem: /missing/ },
  ]);
  t.strictSame(await store.restorable(), [true, true, true]);
  for (const text of ["{}", "not JSON", " ".repeat(70_000)]) {
    writeFileSync(path, text);
    t.match((await store.verify()).findings, [{ path }]);
  }
  rmSync(path);
  symlinkSync(store.image(1, "json"), path);
  t.match((await store.verify()).findings, [{ path, problem: /symbolic link/ }]);
});

t.test("images that nothing needs are notes, unless it is not known what is needed", async (t) => {
  const store = await DiskStore.create(t.testdir());
  const { images } = store.model.store;
  const unneeded = images.describe("disk0", shapes[0].lengthBytes, null);
  const aside = images.describe("disk0", shapes[0].lengthBytes, null);
  for (const image of [unneeded, aside]) {
    await images.write(image);
    writeFileSync(images.pathOf(image), "x");
  }
  await images.setCurrent({ format: 1, images: {}, aside: [aside.id] });
  writeFileSync(join(store.imagesPath, ".partial-leg.digests"), "x");
  const { findings, notes } = await store.verify();
  t.strictSame(findings, []);
  t.match(
    notes.map(({ path }) => path),
    [
      join(store.imagesPath, ".partial-leg.digests"),
      join(store.imagesPath, `${unneeded.id}.json`),
      images.pathOf(unneeded),
    ],
  );
  writeFileSync(join(store.chain[2].directory, "manifest.json"), "damaged");
  t.equal((await store.verify()).notes.length, 1, "the manifest may have named them");
});

t.test("a manifest with other disks than its base's, or with another image", async (t) => {
  const store = await DiskStore.create(t.testdir());
  const { manifest, directory } = store.chain[2];
  const path = join(directory, "manifest.json");
  const [first, second] = manifest.disks;
  const write = (disks: typeof manifest.disks) =>
    writeFileSync(path, encodeManifest(store.model.core, { ...manifest, disks }));
  write([second, first]);
  t.ok(
    (await store.verify()).findings.some(
      (one) => one.path === path && /disks are not those/.test(one.problem),
    ),
  );
  write([{ ...first, image: store.chain[1].manifest.disks[0].image }, second]);
  const { findings } = await store.verify();
  t.ok(findings.some(({ generation }) => generation === 3));
  t.strictSame(await store.restorable(), [true, true, false]);
  t.equal(dirname(path), directory);
});

t.test("a damaged image of one disk leaves the other's findings alone", async (t) => {
  const store = await DiskStore.create(t.testdir());
  rmSync(store.image(1, "qcow2"));
  const second = store.image(2, "qcow2", 1);
  flip(second, placeInImage(second, 9).data);
  const { findings } = await store.verify();
  t.match(
    findings.map(({ path }) => path),
    [store.image(1, "qcow2"), second],
  );
});

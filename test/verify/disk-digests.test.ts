import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import t from "tap";
import { digestLevels } from "../../src/generation/block-digest-layout.ts";
import { noiseFrom } from "../store/model-store.ts";
import { DiskStore, flip, placeInImage, shapes } from "./disk-store.ts";

const window = 4096;
const levels = digestLevels(shapes[0].lengthBytes / window);

t.test("a damaged digest is told from a damaged block", async (t) => {
  const store = await DiskStore.create(t.testdir());
  for (const [generation, number] of [
    [1, 30],
    [2, 13],
    [3, 280],
  ]) {
    const path = store.image(generation, "digests");
    flip(path, number * 16 + 5);
    const { findings } = await store.verify();
    t.match(findings, [
      {
        path,
        generation,
        disk: "disk0",
        block: number,
        blocks: 1,
        offset: number * 16,
        problem: "the block's digest in this file is damaged, its content is right",
      },
    ]);
    t.equal(findings.length, 1);
    t.strictSame(await store.restorable(), [true, true, true], "contents still have the root");
    t.match((await store.verify({ quick: true })).findings, [
      { path, problem: /does not fit what is below/ },
    ]);
    flip(path, number * 16 + 5);
  }
});

t.test("a damaged node, and a damaged top", async (t) => {
  const store = await DiskStore.create(t.testdir());
  const path = store.image(1, "digests");
  for (const [level, entry] of [
    [1, 0],
    [1, 4],
    [2, 0],
  ]) {
    const offset = levels[level].firstWindow * window + entry * 16;
    flip(path, offset + 15);
    const { findings } = await store.verify();
    // Where a newer file has the node, nobody reads this one for the newer generations.
    t.match(findings, [
      { path, disk: "disk0", block: entry * 64, offset, problem: /^a node .* what is below it is right/ },
    ]);
    t.equal(findings.length, 1);
    t.strictSame(await store.restorable(), [true, true, true]);
    flip(path, offset + 15);
  }
});

t.test("a damaged block under a damaged node: both are told, and nothing counts as right", async (t) => {
  const store = await DiskStore.create(t.testdir());
  const [digests, image] = [store.image(1, "digests"), store.image(1, "qcow2")];
  flip(digests, levels[1].firstWindow * window);
  flip(image, placeInImage(image, 30).data);
  const { findings } = await store.verify();
  t.ok(findings.some(({ path, block }) => path === image && block === 30));
  t.ok(
    findings.some(({ path, problem }) => path === digests && /does not fit what is below it/.test(problem)),
  );
  t.strictSame(await store.restorable(), [false, false, false]);
});

t.test("digests that are whole, but of another generation", async (t) => {
  const store = await DiskStore.create(t.testdir());
  const path = store.image(2, "digests");
  const kept = readFileSync(path);
  copyFileSync(store.image(3, "digests"), path);
  const { findings } = await store.verify();
  t.ok(findings.length > 0);
  t.strictSame([...new Set(findings.map((finding) => finding.path))], [path]);
  t.strictSame(await store.restorable(), [true, true, true], "contents have the roots");
  writeFileSync(path, kept);
  t.strictSame((await store.verify()).findings, []);
});

t.test("damaged digests beside damaged digests of memory", async (t) => {
  const store = await DiskStore.create(t.testdir());
  const ram = `${store.chain[2].directory}/digests`;
  const disk = store.image(3, "digests");
  flip(ram, 3);
  flip(disk, 280 * 16);
  const { findings } = await store.verify();
  t.match(
    findings.map(({ path, problem }) => [path, problem]),
    [
      [ram, /content is right/],
      [disk, /content is right/],
    ],
  );
  t.strictSame(await store.restorable(), [true, true, true]);
});

t.test("another VM's key: nothing counts as right", async (t) => {
  const store = await DiskStore.create(t.testdir());
  writeFileSync(`${store.model.storePath}.keys/web1.key`, "00".repeat(32));
  const { findings } = await store.verify();
  t.ok(findings.some(({ problem }) => /the key is another VM's/.test(problem)));
  t.strictSame(await store.restorable(), [false, false, false]);
});

t.test("a flipped bit anywhere in a file of digests is found, also where it has nothing", async (t) => {
  const store = await DiskStore.create(t.testdir());
  const noise = noiseFrom(5);
  for (const generation of [1, 3]) {
    const path = store.image(generation, "digests");
    const bytes = readFileSync(path);
    const missed: number[] = [];
    for (let at = noise(); at < bytes.length; at += 397) {
      const damaged = Buffer.from(bytes);
      damaged[at] ^= 1 << (noise() & 7);
      writeFileSync(path, damaged);
      const { findings } = await store.verify({ quick: at % 2 === 0 });
      if (!findings.some((finding) => finding.path === path)) missed.push(at);
    }
    t.strictSame(missed, []);
    writeFileSync(path, bytes);
  }
  t.strictSame((await store.verify()).findings, [], "files without holes are good too");
});

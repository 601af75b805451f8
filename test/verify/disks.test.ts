import { copyFileSync, readFileSync, truncateSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { verifyCommand } from "../../cli/commands/verify.ts";
import { runInTest } from "./command-output.ts";
import { block, DiskStore, flip, placeInImage, shapes } from "./disk-store.ts";

t.test("intact disks: no findings, no notes, all can be restored", async (t) => {
  const store = await DiskStore.create(t.testdir());
  for (const quick of [false, true]) {
    const { findings, notes, vms, diskBytes } = await store.verify({ quick });
    t.strictSame(findings, []);
    t.strictSame(notes, []);
    t.ok(vms[0].generations.every(({ intact, restorable }) => intact && restorable));
    t.equal(diskBytes > 0, !quick, "quick reads no content");
  }
});

t.test("what images share is read once", async (t) => {
  const store = await DiskStore.create(t.testdir());
  const { diskBytes } = await store.verify();
  // Of the first disk 41 + 3 + 2 blocks, and one that was zeroed; of the second one block in each generation.
  t.equal(diskBytes, (41 + 3 + 3 + 3) * block);
});

t.test("a damaged block is named with its place, and what it spoils", async (t) => {
  const store = await DiskStore.create(t.testdir());
  const cases: [generation: number, block: number, restorable: boolean[]][] = [
    [1, 30, [false, false, false]],
    [1, 12, [false, true, true]],
    [1, 20, [false, false, true]],
    [2, 13, [true, false, false]],
    [2, 12, [true, false, true]],
    [3, 280, [true, true, false]],
  ];
  for (const [generation, number, restorable] of cases) {
    const path = store.image(generation, "qcow2");
    const { data } = placeInImage(path, number);
    flip(path, data + 17);
    const { findings } = await store.verify();
    t.match(
      findings,
      [
        {
          path,
          generation,
          disk: "disk0",
          block: number,
          blocks: 1,
          diskOffset: number * block,
          offset: data,
          problem: "the block's content does not have its digest",
        },
      ],
      `block ${number} of generation ${generation}`,
    );
    t.equal(findings.length, 1, "told once, however many generations have it");
    t.strictSame(await store.restorable(), restorable);
    t.strictSame((await store.verify({ quick: true })).findings, [], "quick reads no content");
    flip(path, data + 17);
  }
  t.strictSame((await store.verify()).findings, []);
});

t.test("neighbours are one finding; another disk's end within a block counts too", async (t) => {
  const store = await DiskStore.create(t.testdir());
  const path = store.image(1, "qcow2");
  for (const number of [14, 15, 16]) flip(path, placeInImage(path, number).data);
  t.match((await store.verify()).findings, [
    { path, disk: "disk0", block: 14, blocks: 3, problem: /\(blocks 14 to 16\)/ },
  ]);
  const second = store.image(3, "qcow2", 1);
  flip(second, placeInImage(second, 9).data + 511);
  t.match((await store.verify()).findings[1], { path: second, disk: "data", block: 9, blocks: 1 });
});

t.test("damaged tables: entries that cannot be, that hide a block, that show one", async (t) => {
  const store = await DiskStore.create(t.testdir());
  const path = store.image(1, "qcow2");
  const { entry } = placeInImage(path, 30);
  flip(path, entry, 0x02);
  for (const quick of [false, true]) {
    const { findings } = await store.verify({ quick });
    t.match(findings, [
      { path, disk: "disk0", block: 30, blocks: 1, offset: entry, problem: /Cannot read L2 entry/ },
    ]);
    t.equal(findings.length, 1);
  }
  t.strictSame(await store.restorable(), [false, false, false]);
  flip(path, entry, 0x02);
  flip(path, entry + 7, 0x01);
  t.match((await store.verify()).findings, [
    { path, disk: "disk0", block: 30, problem: "the block is zero, but its digest says that it is not" },
  ]);
  flip(path, entry + 7, 0x01);
  // The entry of a block that no image has now leads to another one's data.
  const bytes = readFileSync(path);
  const free = placeInImage(path, 200).entry;
  for (let i = 0; i < 8; i++) flip(path, free + i, bytes[entry + i]);
  t.match((await store.verify()).findings, [
    {
      path,
      disk: "disk0",
      block: 200,
      problem: "the block has content, but its digest says that it is zero",
    },
  ]);
  t.strictSame(await store.restorable(), [false, false, false]);
});

t.test("an overlay that hides a block as zero, and one that shows a block again, are found", async (t) => {
  const store = await DiskStore.create(t.testdir());
  const second = store.image(2, "qcow2");
  const { entry } = placeInImage(second, 40);
  flip(second, entry + 7, 0x01);
  t.match((await store.verify()).findings, [
    { path: second, generation: 2, disk: "disk0", block: 40, problem: /^the block is zero/ },
  ]);
  t.strictSame(await store.restorable(), [true, false, false]);
  flip(second, entry + 7, 0x01);
  const third = store.image(3, "qcow2");
  flip(third, placeInImage(third, 20).entry + 7, 0x01);
  t.match((await store.verify()).findings, [
    {
      path: store.image(1, "qcow2"),
      generation: 3,
      disk: "disk0",
      block: 20,
      problem: /^the block has content/,
    },
  ]);
  t.strictSame(await store.restorable(), [true, true, false]);
});

t.test("an image replaced by an older one, and one that was cut", async (t) => {
  const store = await DiskStore.create(t.testdir());
  const path = store.image(3, "qcow2");
  const whole = join(t.testdirName, "whole");
  copyFileSync(path, whole);
  copyFileSync(store.image(2, "qcow2"), path);
  const { findings } = await store.verify();
  t.match(
    findings.map(({ path, block }) => [path, block]),
    [
      [path, 12],
      [store.image(1, "qcow2"), 20],
      [path, 280],
    ],
  );
  t.strictSame(await store.restorable(), [true, true, false]);
  copyFileSync(whole, path);
  const { data } = placeInImage(path, 280);
  truncateSync(path, data);
  const cut = (await store.verify()).findings;
  t.match(cut, [{ path, disk: "disk0", block: 280, problem: /Cannot read table entry.* the file ends/ }]);
  truncateSync(path, 50);
  t.match((await store.verify()).findings, [{ path, disk: "disk0", problem: /Cannot open qcow2 image/ }]);
  t.strictSame(await store.restorable(), [true, true, false]);
});

t.test("a rotten image gives a bounded number of findings", async (t) => {
  const store = await DiskStore.createEmpty(t.testdir(), [shapes[0]]);
  const content = new Map(Array.from({ length: 300 }, (_, i) => [i, new Uint8Array(block).fill(7)]));
  await store.add([{ content }]);
  const path = store.image(1, "qcow2");
  for (let i = 0; i < 300; i += 2) flip(path, placeInImage(path, i).data);
  const { findings } = await store.verify();
  t.equal(findings.length, 65);
  t.match(findings[64], { path, disk: "disk0", problem: /86 more blocks/ });
});

t.test("a delta that leaves a block out, or says something else of it", async (t) => {
  const folder = t.testdir({ omitted: {}, wrong: {} });
  const omitted = await DiskStore.create(join(folder, "omitted"), { omitted: 280 });
  const path = join(omitted.chain[2].directory, "delta");
  t.match((await omitted.verify()).findings, [
    { path, generation: 3, disk: "disk0", block: 280, blocks: 1, problem: /has no record/ },
  ]);
  t.strictSame(await omitted.restorable(), [true, true, true], "the images are right");
  const wrong = await DiskStore.create(join(folder, "wrong"), { wrong: 12 });
  t.match((await wrong.verify()).findings, [
    {
      path: join(wrong.chain[2].directory, "delta"),
      disk: "disk0",
      block: 12,
      problem: /^replaying the delta/,
    },
  ]);
});

t.test("a flipped bit in a frame of a disk is found", async (t) => {
  const store = await DiskStore.create(t.testdir());
  const path = join(store.chain[1].directory, "delta");
  const { length } = readFileSync(path);
  for (let at = 100; at < length; at += Math.floor(length / 12)) {
    flip(path, at);
    const { findings } = await store.verify();
    t.ok(
      findings.some((finding) => finding.path === path),
      `byte ${at}`,
    );
    flip(path, at);
  }
});

t.test("the command names disk, block and place, and ends with 5", async (t) => {
  const store = await DiskStore.create(t.testdir());
  const path = store.image(2, "qcow2");
  const { data } = placeInImage(path, 13);
  flip(path, data);
  const text = await runInTest(t, verifyCommand(), store.model.storePath);
  t.equal(text.code, 5);
  t.equal(
    text.lines[0],
    `${path}: generation 2, disk0 block 13 (byte 53248 of the disk), byte ${data}: the block's content does not have its digest`,
  );
  t.ok(text.lines.includes(`web1 (${store.model.store.path}): 3 generations, restorable: 1`));
  const json = await runInTest(t, verifyCommand(), "--json", store.model.storePath);
  const events = json.lines.map((line) => JSON.parse(line));
  t.match(
    events.find(({ event }) => event === "finding"),
    { path, generation: 2, disk: "disk0", block: 13, blocks: 1, offset: data },
  );
  t.match(events.at(-1), { event: "done", generations: 3, findings: 1 });
});

t.test("a generation by itself is verified with its disks", async (t) => {
  const store = await DiskStore.create(t.testdir());
  const path = store.image(1, "qcow2");
  flip(path, placeInImage(path, 30).data);
  const { lines, code } = await runInTest(t, verifyCommand(), store.chain[1].directory);
  t.equal(code, 5);
  t.match(lines[0], /disk0 block 30/);
});

t.test("progress counts disks too and ends at the total", async (t) => {
  const store = await DiskStore.create(t.testdir());
  const seen: { doneBytes: number; totalBytes: number }[] = [];
  await store.verify({ onProgress: (progress) => seen.push(progress) });
  const ram = await store.verify({ quick: true, onProgress: () => {} });
  t.equal(ram.diskBytes, 0);
  t.ok(seen.every(({ doneBytes, totalBytes }) => doneBytes <= totalBytes));
  t.equal(seen.at(-1)?.doneBytes, seen.at(-1)?.totalBytes);
});

t.test("a delta with frames of disks can be verified by itself", async (t) => {
  const store = await DiskStore.create(t.testdir());
  const path = join(store.chain[1].directory, "delta");
  t.equal((await runInTest(t, verifyCommand(), path)).code, 0);
  flip(path, readFileSync(path).length - 400);
  t.equal((await runInTest(t, verifyCommand(), path)).code, 5);
});

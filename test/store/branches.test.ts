import { existsSync } from "node:fs";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import t, { type Test } from "tap";
import type { BranchRecord } from "../../cli/store/branches.ts";
import {
  type FenceMarker,
  readFenceMarker,
  removeFenceMarker,
  writeFenceMarker,
} from "../../cli/store/fence-marker.ts";
import { verifyPaths } from "../../cli/verify/verify.ts";
import { shortFolder } from "../agent/agent-fixture.ts";
import { ModelStore } from "./model-store.ts";
import { endsAs } from "./operation-errors.ts";

const record = (changes: Partial<BranchRecord> = {}): BranchRecord => ({
  format: 1,
  name: "3-b",
  vm: "web1",
  epoch: 3,
  by: { site: "b", epoch: 5 },
  generation: 1,
  createdAt: "2026-01-02T03:04:05.000Z",
  memory: true,
  disks: [],
  problem: null,
  ...changes,
});

/** A store whose only complete state has become the branch 3-b. */
async function withBranch(t: Test): Promise<ModelStore> {
  const model = await ModelStore.create(await shortFolder(t));
  await model.addChain(0);
  const { branches, generationsPath } = model.store;
  await branches.prepare();
  await branches.takeMemory(join(generationsPath, "1"), "3-b");
  await branches.put(record());
  return model;
}

t.test("a branch is found with its memory, and is no generation", async (t) => {
  const { store } = await withBranch(t);
  const { branches, unusable } = await store.branches.list();
  t.strictSame(unusable, []);
  t.match(branches, [{ record: record(), memory: { manifest: { generation: 1, base: null }, below: [] } }]);
  t.ok((await store.branches.bytesOf(branches[0])) > 0);
  t.strictSame((await store.list()).generations, []);
  t.equal(await store.branches.find("4-b"), null);
  await store.branches.remove("3-b");
  t.strictSame(await store.branches.list(), { branches: [], unusable: [] });
  t.notOk(existsSync(join(store.branches.path, "3-b")));
});

t.test("a branch whose memory or record is damaged is told", async (t) => {
  const { store } = await withBranch(t);
  const manifest = join(store.branches.path, "3-b", "manifest.json");
  await writeFile(manifest, "{}");
  t.match(await store.branches.list(), {
    branches: [{ memory: null }],
    unusable: [{ path: /branches\/3-b$/, reason: /manifest/ }],
  });
  await writeFile(join(store.branches.path, "3-b.json"), JSON.stringify(record({ vm: "web2" })));
  t.match(await store.branches.list(), {
    branches: [],
    unusable: [{ path: /3-b\.json$/, reason: /of web1/ }],
  });
});

t.test("a sweep removes what was never completed, but not what a fencing is at", async (t) => {
  const { store } = await withBranch(t);
  const { path } = store.branches;
  for (const name of [".partial-x", "4-c", "6-c"]) await mkdir(join(path, name));
  await writeFenceMarker(store.path, marker({ branch: "6-c" }));
  t.equal(await store.sweep(), 2);
  t.ok(existsSync(join(path, "6-c")));
  t.ok(existsSync(join(path, "3-b", "ram.img")));
});

t.test("images that a branch names stay, and all stay while a record cannot be read", async (t) => {
  const { store } = await ModelStore.create(await shortFolder(t));
  const { images, branches } = store;
  for (const id of ["disk0-00000001", "disk0-00000002"]) {
    await images.write({ ...images.describe("disk0", 4096, null), id, file: `${id}.qcow2` });
    await writeFile(join(images.path, `${id}.qcow2`), "");
  }
  const disks = [{ name: "disk0", lengthBytes: 4096, image: "disk0-00000001" }];
  await branches.put(record({ memory: false, disks }));
  await writeFile(join(branches.path, "4-b.json"), "not a record");
  t.equal(await store.sweepImages(), 0);
  await rm(join(branches.path, "4-b.json"));
  t.equal(await store.sweepImages(), 2, "the other one's two files");
  t.strictSame([...(await images.list()).keys()], ["disk0-00000001"]);
});

t.test("the verifier looks into branches", async (t) => {
  const { store, storePath } = await withBranch(t);
  await writeFile(join(store.path, "vm.yaml"), "");
  const good = await verifyPaths([storePath]);
  t.strictSame(good.findings, []);
  t.match(good.vms, [
    { branch: null, generations: [] },
    { branch: "3-b", generations: [{ generation: 1, intact: true, restorable: true }] },
  ]);
  const alone = await verifyPaths([join(store.branches.path, "3-b")]);
  t.match(alone.vms, [{ vm: "web1", branch: "3-b", generations: [{ restorable: true }] }]);

  await mkdir(join(store.branches.path, "9-b"));
  await writeFile(join(store.branches.path, "8-b.json"), "{");
  await writeFile(join(store.branches.path, "3-b", "ram.img"), "x");
  const bad = await verifyPaths([storePath]);
  const problems = bad.findings.map(({ path }) => path.slice(store.branches.path.length + 1));
  t.ok(problems.includes("8-b.json"), "a record that is none");
  t.ok(problems.includes(join("3-b", "ram.img")), "memory that is cut off");
  t.match(
    bad.notes.map(({ path }) => path.slice(store.branches.path.length + 1)),
    ["9-b"],
  );
});

const marker = (changes: Partial<FenceMarker> = {}): FenceMarker => ({
  format: 1,
  epoch: 3,
  by: { site: "b", epoch: 5 },
  generation: 1,
  branch: "3-b",
  startedAt: "2026-01-02T03:04:05.000Z",
  ...changes,
});

t.test("the note of a fencing is there until it is removed; a damaged one is not passed over", async (t) => {
  const { store } = await ModelStore.create(await shortFolder(t));
  t.equal(await readFenceMarker(store.path), null);
  await writeFenceMarker(store.path, marker());
  t.strictSame(await readFenceMarker(store.path), marker());
  await writeFile(join(store.path, "fenced.json"), JSON.stringify({ ...marker(), branch: "../../etc" }));
  await t.rejects(readFenceMarker(store.path), endsAs("refused"));
  await removeFenceMarker(store.path);
  t.equal(await readFenceMarker(store.path), null);
});

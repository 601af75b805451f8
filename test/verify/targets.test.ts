import { cpSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { verifyPaths } from "../../cli/verify/verify.ts";
import { ModelStore } from "../store/model-store.ts";
import { endsAs } from "../store/operation-errors.ts";

/** Two sites below one folder, as `demo --keep` leaves them. */
async function makeSites(folder: string) {
  const sites = [];
  for (const name of ["a", "b"]) {
    mkdirSync(join(folder, name));
    const model = await ModelStore.create(join(folder, name));
    await model.addChain(2);
    sites.push(model);
  }
  return { a: sites[0], b: sites[1] };
}

t.test("a folder of stores, a store, a VM, its generations and one of them can be named", async (t) => {
  const folder = t.testdir();
  const { a } = await makeSites(folder);
  const { store, storePath } = a;
  const generations = async (...paths: string[]) => {
    const report = await verifyPaths(paths);
    t.strictSame(report.findings, []);
    return report.generations;
  };
  t.equal(await generations(folder), 6);
  t.equal(await generations(join(folder, "a")), 3);
  t.equal(await generations(storePath), 3);
  t.equal(await generations(store.path), 3);
  t.equal(await generations(store.generationsPath), 3);
  t.equal(await generations(join(store.generationsPath, "1")), 1);
  t.equal(await generations(join(store.generationsPath, "3")), 3, "with what it stands on");
  t.equal(await generations(join(store.generationsPath, "1"), join(folder, "b")), 4);
});

t.test("a generation outside of a store needs its key named", async (t) => {
  const folder = t.testdir();
  const { a } = await makeSites(folder);
  const loose = join(folder, "copy");
  cpSync(join(a.store.generationsPath, "1"), loose, { recursive: true });
  await t.rejects(verifyPaths([loose]), endsAs("usage"));
  const keyPaths = [`${a.storePath}.keys/web1.key`];
  t.strictSame((await verifyPaths([loose], { keyPaths })).findings, []);
});

t.test("a missing key is told with its place; a key that is none, too", async (t) => {
  const folder = t.testdir();
  const { a } = await makeSites(folder);
  const path = `${a.storePath}.keys/web1.key`;
  writeFileSync(path, "nonsense");
  await t.rejects(verifyPaths([a.storePath]), /not a key of 64 hexadecimal digits/);
  rmSync(path);
  await t.rejects(verifyPaths([a.storePath]), endsAs("usage"));
  await t.rejects(verifyPaths([a.storePath]), new RegExp(`${path} is missing`));
  await t.rejects(verifyPaths([a.storePath], { keyPaths: [join(folder, "nowhere")] }), endsAs("usage"));
});

t.test("another VM's key gives findings, not silence", async (t) => {
  const folder = t.testdir();
  const { a } = await makeSites(folder);
  const key = join(folder, "other.key");
  writeFileSync(key, "ab".repeat(32));
  const { findings, vms } = await verifyPaths([a.storePath], { keyPaths: [key] });
  t.ok(findings.some(({ problem }) => /key is another VM's/.test(problem)));
  t.equal(vms[0].newestRestorable, null);
});

t.test("among several keys the one with the VM's name is taken", async (t) => {
  const folder = t.testdir();
  const { a } = await makeSites(folder);
  const keys = join(folder, "keys");
  mkdirSync(keys);
  renameSync(`${a.storePath}.keys/web1.key`, join(keys, "web1.key"));
  writeFileSync(join(keys, "web2.key"), "ab".repeat(32));
  const keyPaths = [join(keys, "web2.key"), join(keys, "web1.key")];
  t.strictSame((await verifyPaths([a.storePath], { keyPaths })).findings, []);
});

t.test("a manifest, a delta and a device file can be checked by themselves, without a key", async (t) => {
  const folder = t.testdir();
  const { a } = await makeSites(folder);
  for (const name of ["manifest.json", "delta", "device"]) {
    const loose = join(folder, `loose-${name}`);
    cpSync(join(a.store.generationsPath, "2", name), loose);
    const report = await verifyPaths([loose]);
    t.match(report, { looseFiles: 1, generations: 0, findings: [] });
  }
});

t.test("paths that stand for nothing are wrong use", async (t) => {
  const folder = t.testdir({ empty: {}, text: "some text" });
  const { a } = await makeSites(folder);
  for (const path of ["empty", "text", "missing"])
    await t.rejects(verifyPaths([join(folder, path)]), endsAs("usage"), path);
  const image = join(a.store.generationsPath, "1", "ram.img");
  await t.rejects(verifyPaths([image]), /name its generation's folder/);
});

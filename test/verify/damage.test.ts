import {
  appendFileSync,
  cpSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import t from "tap";
import type { VerifyOptions } from "../../cli/verify/verify.ts";
import { verifyPaths } from "../../cli/verify/verify.ts";
import { encodeManifest, type Manifest } from "../../src/generation/manifest.ts";
import { ModelStore, page } from "../store/model-store.ts";

/** A store with a full generation and three deltas, and the paths in it. */
async function makeStore(folder: string) {
  const model = await ModelStore.create(folder);
  const chain = await model.addChain(3);
  const at = (generation: number, name = "") => join(model.store.generationsPath, String(generation), name);
  const verify = async (options: VerifyOptions = {}) => await verifyPaths([model.storePath], options);
  return { model, chain, at, verify };
}

function flip(path: string, at: number): void {
  const bytes = readFileSync(path);
  bytes[at] ^= 0x10;
  writeFileSync(path, bytes);
}

t.test("a damaged page of the snapshot is named, and what it spoils", async (t) => {
  const { at, verify } = await makeStore(t.testdir());
  flip(at(1, "ram.img"), 41 * page + 5);
  const { findings, vms } = await verify();
  t.match(findings[0], {
    path: at(1, "ram.img"),
    generation: 1,
    region: "vga.vram",
    page: 1,
    offset: 41 * page,
    problem: /does not have its digest/,
  });
  t.strictSame(
    vms[0].generations.map(({ restorable }) => restorable),
    [false, false, false, false],
  );
  t.equal(vms[0].newestRestorable, null);
});

t.test("generations that replaced the damaged page are still restorable", async (t) => {
  const { model, chain, at, verify } = await makeStore(t.testdir());
  const memory = (model.memories.get(4) as Uint8Array).slice();
  memory.fill(0x77, 20 * page, 21 * page);
  await model.add(memory, chain[3]);
  flip(at(1, "ram.img"), 20 * page + 9);
  const { vms } = await verify();
  t.equal(vms[0].newestRestorable, 5);
  t.strictSame(
    vms[0].generations.map(({ restorable }) => restorable),
    [false, false, false, false, true],
  );
});

t.test("damaged digests are told from damaged contents", async (t) => {
  const { at, verify } = await makeStore(t.testdir());
  for (const generation of [1, 3]) {
    flip(at(generation, "digests"), 5 * 16 + 3);
    const { findings, vms } = await verify();
    t.match(findings, [
      { path: at(generation, "digests"), generation, page: 5, offset: 80, problem: /content is right/ },
    ]);
    t.equal(findings.length, 1);
    t.equal(vms[0].newestRestorable, 4, "contents still have the root");
    flip(at(generation, "digests"), 5 * 16 + 3);
  }
});

t.test("a damaged frame is named with its place, and the overlay beside it still restores", async (t) => {
  const { at, verify } = await makeStore(t.testdir());
  flip(at(3, "delta"), 300);
  const { findings, vms } = await verify();
  t.ok(findings.some(({ path, problem }) => path === at(3, "delta") && /frame 2.*checksum/.test(problem)));
  t.ok(findings.every(({ generation }) => generation === 3));
  t.strictSame(
    vms[0].generations.map(({ intact }) => intact),
    [true, true, false, true],
  );
  t.equal(vms[0].newestRestorable, 4);
});

t.test("a page of an overlay that has no record must be zero or right", async (t) => {
  const { at, verify } = await makeStore(t.testdir());
  const image = readFileSync(at(2, "ram.img"));
  const hole = Array.from({ length: 47 }, (_, i) => i).find((i) =>
    image.subarray(i * page, (i + 1) * page).every((b) => b === 0),
  );
  flip(at(2, "ram.img"), (hole as number) * page);
  const { findings, vms } = await verify();
  t.match(findings, [{ path: at(2, "ram.img"), problem: /has no record/ }]);
  t.equal(vms[0].newestRestorable, 4, "nobody reads it");
});

t.test("missing, cut, lengthened and surplus files are found", async (t) => {
  const { at, verify } = await makeStore(t.testdir());
  const cases: [what: RegExp, path: string, damage: (path: string) => void][] = [
    [/missing/, at(2, "ram.img"), rmSync],
    [/missing/, at(1, "digests"), rmSync],
    [/missing/, at(4, "device"), rmSync],
    [/missing/, at(3, "delta"), rmSync],
    [/bytes, 192512 expected/, at(1, "ram.img"), (path) => truncateSync(path, page)],
    [/bytes, .* expected/, at(2, "delta"), (path) => appendFileSync(path, "x")],
    [/bytes, .* expected/, at(2, "device"), (path) => truncateSync(path, 10)],
    [/does not list/, at(2, "surplus"), (path) => writeFileSync(path, "x")],
    [/does not list/, at(1, "delta.old"), (path) => mkdirSync(path)],
  ];
  for (const [what, path, damage] of cases) {
    const copy = `${path}.kept`;
    const isThere = !path.endsWith("surplus") && !path.endsWith(".old");
    if (isThere) cpSync(path, `${copy}-outside`.replace("generations", ""), { recursive: true });
    damage(path);
    const { findings } = await verify();
    t.ok(
      findings.some((finding) => finding.path === path && what.test(finding.problem)),
      `${path}: ${what}`,
    );
    rmSync(path, { recursive: true, force: true });
    if (isThere) cpSync(`${copy}-outside`.replace("generations", ""), path);
  }
  t.strictSame((await verify()).findings, [], "all put back");
});

t.test("a missing generation breaks what stands on it, and says so", async (t) => {
  const { at, verify } = await makeStore(t.testdir());
  rmSync(at(2), { recursive: true });
  const { findings, vms } = await verify();
  t.ok(
    findings.some(({ path, problem }) => path === at(3) && /base, generation 2, is not here/.test(problem)),
  );
  t.equal(vms[0].newestRestorable, 1);
});

t.test("a base with another root is not taken for the base", async (t) => {
  const { model, chain, at, verify } = await makeStore(t.testdir());
  const other = await ModelStore.create(join(t.testdirName, "other"));
  const manifest: Manifest = { ...chain[1].manifest, base: { generation: 1, root: "00".repeat(32) } };
  writeFileSync(at(2, "manifest.json"), encodeManifest(other.core, manifest));
  const { findings } = await verify();
  t.ok(findings.some(({ path, problem }) => path === at(2) && /has another root/.test(problem)));
  t.equal(model.vm, "web1");
});

t.test("a manifest that is right in itself but lies about its files is found", async (t) => {
  const { model, chain, at, verify } = await makeStore(t.testdir());
  const { manifest } = chain[1];
  const { files, records, regions } = manifest;
  const lies: [what: string, lie: Partial<Manifest>, path: string][] = [
    ["its root", { root: "11".repeat(32) }, at(2, "digests")],
    ["the device digest", { deviceDigest: "11".repeat(32) }, at(2, "device")],
    ["the device length", { deviceBytes: 7 }, at(2, "device")],
    ["the records", { records: { ...records, raw: records.raw + 1 } }, at(2, "manifest.json")],
    [
      "the file digest",
      { files: { ...files, delta: { bytes: files.delta?.bytes ?? 0, digest: "11".repeat(32) } } },
      at(2, "delta"),
    ],
    [
      "no file digest",
      { files: { ...files, delta: { bytes: files.delta?.bytes ?? 0 } } },
      at(2, "manifest.json"),
    ],
    ["a file length", { files: { ...files, digests: { bytes: 16 } } }, at(2, "manifest.json")],
    ["its regions", { regions: [regions[0]] }, at(2, "manifest.json")],
    ["its number", { generation: 3, base: manifest.base }, at(2, "manifest.json")],
    ["its VM", { vm: "web2" }, at(2, "manifest.json")],
  ];
  for (const [what, lie, path] of lies) {
    writeFileSync(at(2, "manifest.json"), encodeManifest(model.core, { ...manifest, ...lie }));
    const { findings } = await verify();
    t.ok(
      findings.some((finding) => finding.path === path),
      what,
    );
  }
});

t.test("a delta of another generation is not accepted although its file is whole", async (t) => {
  const { model, chain, at, verify } = await makeStore(t.testdir());
  cpSync(at(2, "delta"), at(3, "delta"));
  const { delta } = chain[1].manifest.files;
  const manifest = {
    ...chain[2].manifest,
    files: { ...chain[2].manifest.files, delta: delta ?? { bytes: 0 } },
  };
  writeFileSync(at(3, "manifest.json"), encodeManifest(model.core, manifest));
  const { findings } = await verify();
  t.ok(findings.some(({ path, problem }) => path === at(3, "delta") && /of generation 2/.test(problem)));
});

t.test("symbolic links are reported and never followed", async (t) => {
  const folder = t.testdir({ outside: {} });
  const { model, at, verify } = await makeStore(folder);
  const outside = join(folder, "outside");
  renameSync(at(4, "ram.img"), join(outside, "ram.img"));
  symlinkSync(join(outside, "ram.img"), at(4, "ram.img"));
  renameSync(at(3), join(outside, "3"));
  symlinkSync(join(outside, "3"), at(3));
  symlinkSync(outside, join(model.storePath, "link"));
  const { findings } = await verify();
  const linked = findings.filter(({ problem }) => /symbolic link/.test(problem)).map(({ path }) => path);
  t.strictSame(linked.sort(), [at(3), at(4, "ram.img"), join(model.storePath, "link")].sort());
});

t.test("leftovers of something interrupted are notes, not findings", async (t) => {
  const { model, at, verify } = await makeStore(t.testdir());
  mkdirSync(join(model.store.generationsPath, ".partial-leg"));
  writeFileSync(at(2, ".partial-ram.img"), "x");
  const { findings, notes } = await verify();
  t.strictSame(findings, []);
  t.strictSame(
    notes.map(({ path }) => path).sort(),
    [join(model.store.generationsPath, ".partial-leg"), at(2, ".partial-ram.img")].sort(),
  );
});

t.test("a rotten file gives a bounded number of findings", async (t) => {
  const regions = [{ name: "pc.ram", kind: "ram", lengthBytes: 600 * page }] as const;
  const model = await ModelStore.create(t.testdir(), "web1", regions);
  const generation = await model.add(new Uint8Array(600 * page).fill(7));
  const path = join(generation.directory, "ram.img");
  const image = readFileSync(path);
  for (let i = 0; i < 600; i += 2) image[i * page] ^= 1;
  writeFileSync(path, image);
  const { findings } = await verifyPaths([model.storePath]);
  t.equal(findings.length, 65);
  t.match(findings[64], { problem: /236 more pages/ });
  for (let i = 1; i < 600; i += 2) image[i * page] ^= 1;
  writeFileSync(path, image);
  t.match(
    (await verifyPaths([model.storePath])).findings,
    [{ page: 0, problem: /pages 0 to 599/ }],
    "neighbours are one",
  );
});

t.test("an altered ownership record is found", async (t) => {
  const { model, verify } = await makeStore(t.testdir());
  writeFileSync(join(model.store.path, "ownership"), "{}");
  t.match((await verify()).findings, [{ path: join(model.store.path, "ownership") }]);
});

t.test("quick leaves out contents and nothing else", async (t) => {
  const { at, verify } = await makeStore(t.testdir());
  flip(at(1, "ram.img"), page);
  t.strictSame((await verify({ quick: true })).findings, []);
  for (const name of ["digests", "device", "delta", "manifest.json"]) {
    flip(at(2, name), 50);
    t.ok(
      (await verify({ quick: true })).findings.some(({ path }) => path === at(2, name)),
      name,
    );
    flip(at(2, name), 50);
  }
});

t.test("progress counts up to what is to be read", async (t) => {
  const { verify } = await makeStore(t.testdir());
  const seen: number[] = [];
  let total = 0;
  await verify({
    onProgress: ({ doneBytes, totalBytes }) => {
      seen.push(doneBytes);
      total = totalBytes;
    },
  });
  t.equal(seen.at(-1), total);
  t.strictSame(
    seen,
    [...seen].sort((a, b) => a - b),
  );
});

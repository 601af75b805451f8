/** The verifier's API over bytes, Blobs, file handles and a server, held against `bfmig verify`. */

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { verifyPaths } from "../../cli/verify/verify.ts";
import { loadCore } from "../../src/core.ts";
import { encodeManifest, type Manifest } from "../../src/generation/manifest.ts";
import { accessBytes, type RandomAccess } from "../../src/verify/random-access.ts";
import type { VerifyProgress } from "../../src/verify/report.ts";
import { verifyGenerations } from "../../src/verify/verify-generations.ts";
import { ModelStore, noiseFrom, page } from "../store/model-store.ts";
import { DiskStore } from "./disk-store.ts";
import { flipped, inputsOf, Sources } from "./generation-inputs.ts";

const core = await loadCore();

async function makeChain(folder: string) {
  const model = await ModelStore.create(folder);
  return { model, chain: await model.addChain(3), key: model.key };
}

/** What was found, without where the files lie. */
function plain<T extends { readonly path: string }>(found: readonly T[], root: string): T[] {
  return found.map((one) => ({ ...one, path: one.path.replace(root, "") }));
}

t.test("bytes, Blobs, file handles and a server give the verdicts of the command", async (t) => {
  const folder = t.testdir();
  const { model, chain, key } = await makeChain(folder);
  const sources = await Sources.open(folder);
  t.teardown(() => sources.close());
  const damage = [
    null,
    { name: "1/ram.img", at: 41 * page + 5 },
    { name: "3/ram.img", at: 20 * page },
    { name: "3/delta", at: 300 },
    { name: "2/digests", at: 83 },
    { name: "4/device", at: 60 },
    { name: "3/manifest.json", at: 40 },
  ];
  for (const one of damage) {
    const change = one ? flipped(one.name, one.at) : undefined;
    const inStore = one && join(model.store.generationsPath, one.name);
    const swap = async () => {
      if (!inStore) return;
      const [file] = await inputsOf(chain, undefined, change).then((inputs) =>
        inputs.flatMap(({ name, files }) => [...files].filter(([file]) => `${name}/${file}` === one.name)),
      );
      const bytes = new Uint8Array(file[1].sizeBytes);
      await file[1].read(bytes, 0);
      writeFileSync(inStore, bytes);
    };
    await swap();
    const command = await verifyPaths([model.storePath]);
    const expected = plain(command.findings, `${model.store.generationsPath}/`);
    for (const [kind, wrap] of Object.entries(sources.wraps)) {
      const inputs = await inputsOf(chain, wrap);
      const { generations, findings, notes } = await verifyGenerations(core, inputs, { key });
      const what = `${one?.name ?? "nothing"} damaged, ${kind}`;
      t.strictSame(
        findings.filter(({ path }) => !path.endsWith("manifest.json")),
        expected.filter(({ path }) => !path.endsWith("manifest.json")),
        what,
      );
      t.equal(findings.length, expected.length, what);
      t.strictSame(notes, [], what);
      t.strictSame(
        generations.map(({ restorable, intact }) => ({ restorable, intact })),
        command.vms[0].generations.map(({ restorable, intact }) => ({ restorable, intact })),
        what,
      );
    }
    // Flipped back.
    await swap();
  }
  t.ok(sources.requests > 0, "the server was asked");
});

t.test("a verdict has root, regions, the pages that changed, and those that are wrong", async (t) => {
  const { chain, key, model } = await makeChain(t.testdir());
  const { generations } = await verifyGenerations(core, await inputsOf(chain), { key });
  for (const [i, verdict] of generations.entries()) {
    const { manifest } = chain[i];
    t.match(verdict, { name: String(i + 1), generation: i + 1, root: manifest.root });
    t.strictSame(verdict.regions, [
      { name: "pc.ram", firstPage: 0, pages: 40 },
      { name: "vga.vram", firstPage: 40, pages: 7 },
    ]);
    t.strictSame(verdict.wrong, new Uint8Array(6));
    const [before, now] = [model.memories.get(i), model.memories.get(i + 1)];
    for (let p = 0; i > 0 && p < 47; p++) {
      const isSame = Buffer.compare(
        (before as Uint8Array).subarray(p * page, (p + 1) * page),
        (now as Uint8Array).subarray(p * page, (p + 1) * page),
      );
      const isDirty = ((verdict.dirty as Uint8Array)[p >> 3] >> (p & 7)) & 1;
      if (isSame !== 0) t.equal(isDirty, 1, `page ${p} of generation ${i + 1}`);
    }
  }
  t.equal(generations[0].dirty, null, "a complete one has no bitmap");
  const inputs = await inputsOf(chain, undefined, flipped("1/ram.img", 41 * page));
  const damaged = await verifyGenerations(core, inputs, { key });
  const wrong = new Uint8Array(6);
  wrong[41 >> 3] = 1 << (41 & 7);
  t.strictSame(damaged.generations[0].wrong, wrong);
});

t.test(
  "a generation with disks: its pages are checked, a note says that disks and root are not",
  async (t) => {
    const store = await DiskStore.create(t.testdir());
    const { key } = store.model;
    const good = await verifyGenerations(core, await inputsOf(store.chain), { key, crossCheck: true });
    t.strictSame(good.findings, []);
    t.match(
      good.notes,
      ["1", "2", "3"].map((path) => ({
        path,
        note: /its disks \(disk0, data\), and so its root, were not checked/,
      })),
    );
    t.ok(good.generations.every(({ intact, restorable }) => intact && !restorable));
    for (const [name, at] of [
      ["1/ram.img", 5],
      ["2/digests", 3],
      ["3/delta", 400],
      ["1/device", 50],
    ] as const) {
      const inputs = await inputsOf(store.chain, undefined, flipped(name, at));
      const { findings, generations } = await verifyGenerations(core, inputs, { key });
      t.ok(findings.length > 0, name);
      t.equal(generations[Number(name[0]) - 1].intact, false, name);
    }
  },
);

t.test("files of many windows: each page and each frame is looked at", async (t) => {
  const folder = t.testdir();
  const regions = [{ name: "pc.ram", kind: "ram", lengthBytes: 2300 * page }] as const;
  const model = await ModelStore.create(folder, "web1", regions);
  const sources = await Sources.open(folder);
  t.teardown(() => sources.close());
  const noise = noiseFrom(9);
  const memory = new Uint8Array(model.memoryBytes);
  // Pages of zeroes, a window of them, and pages with content.
  for (let i = 0; i < 2300; i++) {
    if (i % 5 > 0 && (i < 512 || i > 900)) memory.fill(1 + (noise() % 255), i * page, (i + 1) * page);
  }
  const first = await model.add(memory);
  const next = memory.map((byte, i) => (i % 7 === 0 ? noise() : byte));
  const chain = [first, await model.add(next, first)];
  const { key } = model;
  t.ok((chain[1].manifest.files.delta?.bytes ?? 0) > 1 << 20, "its delta has several windows");
  for (const [kind, wrap] of Object.entries(sources.wraps)) {
    const inputs = await inputsOf(chain, wrap);
    const { generations, findings } = await verifyGenerations(core, inputs, { key });
    t.strictSame(findings, [], kind);
    t.ok(generations.every(({ restorable }) => restorable));
  }
  for (const wrap of [sources.wraps["bytes"], sources.wraps["blob"]]) {
    for (const number of [0, 255, 256, 2047, 2048, 2299]) {
      const inputs = await inputsOf(chain, wrap, flipped("2/ram.img", number * page + 77));
      const { findings } = await verifyGenerations(core, inputs, { key });
      t.match(findings, [{ path: "2/ram.img", region: "pc.ram", page: number, offset: number * page }]);
      t.equal(findings.length, 1);
    }
  }
});

t.test(
  "what does not belong together is found: another VM, the same one twice, a hole in the chain",
  async (t) => {
    const folder = t.testdir({ other: {} });
    const { chain, key, model } = await makeChain(folder);
    const inputs = await inputsOf(chain);
    const verify = async (given: typeof inputs) => (await verifyGenerations(core, given, { key })).findings;
    const other = await ModelStore.create(join(folder, "other"), "web2");
    const [foreign] = await inputsOf(await other.addChain(0));
    t.match(await verify([...inputs, { ...foreign, name: "x" }]), [
      { path: "x/manifest.json", problem: "it is of generation 1 of web2, not of web1" },
    ]);
    t.match(await verify([...inputs, { ...inputs[1], name: "again" }]), [
      { path: "again/manifest.json", problem: "it is of generation 2, as that of 2 is" },
    ]);
    const hole = await verify(inputs.filter(({ name }) => name !== "2"));
    t.ok(hole.some(({ path, problem }) => path === "3" && /base, generation 2, is not here/.test(problem)));
    const swapped = await verify([
      inputs[0],
      inputs[1],
      {
        ...inputs[2],
        files: new Map([...inputs[2].files, ["delta", inputs[1].files.get("delta") as RandomAccess]]),
      },
    ]);
    t.ok(swapped.some(({ path }) => path === "3/delta"));
    t.match(await verify([{ name: "empty", files: new Map() }]), [
      { path: "empty/manifest.json", problem: "the file is missing" },
    ]);
    t.equal(model.vm, "web1");
  },
);

t.test("a manifest that claims more pages than there can be reserves nothing for them", async (t) => {
  const { chain, key } = await makeChain(t.testdir());
  const { manifest } = chain[0];
  const lie: Manifest = {
    ...manifest,
    regions: [{ name: "pc.ram", kind: "ram", lengthBytes: 2 ** 42 }],
    files: { ...manifest.files, "ram.img": { bytes: 2 ** 42 }, digests: { bytes: 2 ** 34 } },
  };
  const bytes = new Uint8Array(encodeManifest(core, lie));
  const change = (name: string, old: Uint8Array<ArrayBuffer>) => (name === "1/manifest.json" ? bytes : old);
  const inputs = await inputsOf(chain.slice(0, 1), undefined, change);
  const { findings } = await verifyGenerations(core, inputs, { key });
  t.ok(findings.some(({ path, problem }) => path === "1/ram.img" && /4398046511104 expected/.test(problem)));
  const files = new Map(inputs[0].files);
  files.set("ram.img", { sizeBytes: 2 ** 42, read: (target) => target.fill(0).length });
  const huge = await verifyGenerations(core, [{ name: "1", files }], { key });
  t.ok(huge.findings.length > 0);
  files.set("manifest.json", { sizeBytes: 2 ** 53 - 1, read: () => 0 });
  t.match((await verifyGenerations(core, [{ name: "1", files }], { key })).findings, [
    { path: "1/manifest.json", problem: /too many/ },
  ]);
});

t.test("a source that fails gives a finding, and one that ends too early too", async (t) => {
  const { chain, key } = await makeChain(t.testdir());
  const [input] = await inputsOf(chain.slice(0, 1));
  const image = input.files.get("ram.img") as RandomAccess;
  const broken: [what: RegExp, source: RandomAccess][] = [
    [
      /the cable is out/,
      { sizeBytes: image.sizeBytes, read: () => Promise.reject(new Error("the cable is out")) },
    ],
    [/ends before/, { sizeBytes: image.sizeBytes, read: () => 0 }],
  ];
  for (const [what, source] of broken) {
    const files = new Map([...input.files, ["ram.img", source]]);
    const { findings, generations } = await verifyGenerations(core, [{ name: "1", files }], { key });
    t.match(findings, [{ path: "1/ram.img", generation: 1, problem: what }]);
    t.equal(generations[0].restorable, false);
  }
});

t.test("progress ends at the total with nothing left; a signal ends it before", async (t) => {
  const { chain, key } = await makeChain(t.testdir());
  const inputs = await inputsOf(chain);
  const seen: VerifyProgress[] = [];
  await verifyGenerations(core, inputs, { key, onProgress: (progress) => seen.push(progress) });
  t.match(seen[0], { vm: "web1", generation: 1, doneBytes: 0, etaMs: null });
  t.match(seen.at(-1), { generation: 4, doneBytes: seen[0].totalBytes, etaMs: 0 });
  const signal = AbortSignal.abort(new Error("not wanted any more"));
  await t.rejects(verifyGenerations(core, inputs, { key, signal }), /not wanted any more/);
  await t.rejects(verifyGenerations(core, inputs, { key: key.subarray(1) }), RangeError);
});

t.test("sources read the same, wherever they begin and end", async (t) => {
  const folder = t.testdir();
  const { chain } = await makeChain(folder);
  const sources = await Sources.open(folder);
  t.teardown(() => sources.close());
  const whole = (await inputsOf(chain))[0].files.get("device") as RandomAccess;
  const bytes = new Uint8Array(whole.sizeBytes);
  await whole.read(bytes, 0);
  for (const [kind, wrap] of Object.entries(sources.wraps)) {
    const input = (await inputsOf(chain, wrap))[0].files.get("device") as RandomAccess;
    t.equal(input.sizeBytes, bytes.length, kind);
    for (const [at, length] of [
      [0, 1],
      [3, 20],
      [bytes.length - 5, 5],
      [bytes.length - 5, 30],
      [bytes.length, 4],
      [0, bytes.length],
    ]) {
      const target = new Uint8Array(length);
      const got = await input.read(target, at);
      t.equal(got, Math.min(length, bytes.length - at), `${kind}: ${length} bytes at ${at}`);
      t.strictSame(target.subarray(0, got), bytes.subarray(at, at + got));
    }
  }
  t.equal(accessBytes(bytes.buffer).sizeBytes, bytes.buffer.byteLength);
});

import {
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { openDigests } from "../../cli/disk/image-content.ts";
import { Holders } from "../../cli/store/holders.ts";
import { checkHolders } from "../../cli/verify/holder-check.ts";
import { FindingLog } from "../../cli/verify/report.ts";
import { verifyPaths } from "../../cli/verify/verify.ts";
import { addImage } from "../store/model-disks.ts";
import { ModelStore, noiseFrom, page } from "../store/model-store.ts";

const root = "ab".repeat(32);
const held = { generation: 3, root };
const diskBytes = 300 * page;

/** A store that knows what two other sites hold, with the digests of one. */
async function makeStore(t: Test) {
  const model = await ModelStore.create(t.testdir());
  await model.addChain(0);
  const { core, key, store } = model;
  const holders = new Holders(store.path);
  const digests = new Uint8Array(48 * 16).map(noiseFrom(3));
  await holders.keepDigests(core, held, { digests, deviceDigest: new Uint8Array(32).fill(5) });
  await holders.record("c", held);
  await holders.record("d", { generation: 1, root: "cd".repeat(32) });
  const at = (name: string) => join(store.path, "holders", name);
  const verify = async () => await verifyPaths([model.storePath]);
  return { model, holders, core, key, store, at, verify };
}

t.test("what other sites hold, and its digests, are in order", async (t) => {
  const { verify } = await makeStore(t);
  const { findings, notes, vms } = await verify();
  t.strictSame([findings, notes], [[], []]);
  t.equal(vms[0].newestRestorable, 1);
});

t.test("every flipped bit and every truncation of kept page digests is found", async (t) => {
  const { core, key, store, at } = await makeStore(t);
  const path = at(`${root}.digests`);
  const bytes = readFileSync(path);
  const missed: string[] = [];
  const look = async (what: string, content: Uint8Array) => {
    writeFileSync(path, content);
    const log = new FindingLog();
    await checkHolders({ core, log, key, vmPath: store.path, manifests: [] });
    if (log.findings.length !== 1 || log.findings[0].path !== path) missed.push(what);
  };
  for (let bit = 0; bit < bytes.length * 8; bit += 3) {
    const damaged = Buffer.from(bytes);
    damaged[bit >> 3] ^= 1 << (bit & 7);
    await look(`bit ${bit}`, damaged);
  }
  for (let length = 0; length < bytes.length; length += 7)
    await look(`cut at ${length}`, bytes.subarray(0, length));
  await look("one digest less", bytes.subarray(16));
  await look("a byte more", Buffer.concat([bytes, Buffer.of(0)]));
  t.strictSame(missed, []);
});

t.test("each file that cannot be used is named with the reason, and harms no generation", async (t) => {
  const { at, verify } = await makeStore(t);
  const record = JSON.stringify(held);
  const cases: [name: string, content: string, problem: RegExp][] = [
    ["e.json", "{", /not a record of what a site holds/],
    ["e.json", record.slice(0, -2), /not a record/],
    ["e.json", record.replace("}", ',"more":1}'), /not a record/],
    ["e.json", record.replace("3", "0"), /not a record/],
    ["e.json", record.replace("3", "9007199254740993"), /not a record/],
    ["e.json", record.replace("ab", "AB"), /not a record/],
    ["e.json", record.padEnd(4097), /4097 bytes, at most 4096/],
    ["E!.json", record, /no site has such a name/],
    ["notes.txt", "x", /neither a record of a site nor digests/],
    [`${root.slice(1)}.digests`, "x", /neither a record/],
    [`${root}.Root.digests`, "x", /neither a record/],
    [`${root}.0root.digests`, "x", /neither a record/],
    [`${root}.root.digests`, "x", /1 bytes are not the digests of a disk/],
    [`${root}.root.digests`, "", /0 bytes are not the digests of a disk/],
  ];
  for (const [name, content, problem] of cases) {
    writeFileSync(at(name), content);
    const { findings, vms } = await verify();
    t.match(findings, [{ path: at(name), problem }], `${name}: ${content.slice(0, 20)}`);
    t.equal(findings.length, 1);
    t.equal(vms[0].newestRestorable, 1, "generations here do not depend on it");
    rmSync(at(name));
  }
  t.strictSame((await verify()).findings, []);
});

t.test("files that are longer than they can be are not read", async (t) => {
  const { at, verify } = await makeStore(t);
  for (const name of ["e.json", `${"ef".repeat(32)}.digests`, `${root}.root.digests`]) {
    writeFileSync(at(name), "");
    truncateSync(at(name), 2 ** 42);
    t.match((await verify()).findings, [{ path: at(name), problem: /4398046511104/ }], name);
    rmSync(at(name));
  }
});

t.test("links are not followed, neither in the folder nor instead of it", async (t) => {
  const { at, verify } = await makeStore(t);
  const outside = join(t.testdirName, "outside");
  mkdirSync(outside);
  for (const name of ["c.json", `${root}.digests`]) {
    renameSync(at(name), join(outside, name));
    symlinkSync(join(outside, name), at(name));
    t.match((await verify()).findings, [{ path: at(name), problem: /symbolic link/ }], name);
    rmSync(at(name));
    renameSync(join(outside, name), at(name));
  }
  mkdirSync(at("e.json"));
  t.match((await verify()).findings, [{ path: at("e.json"), problem: /not a regular file/ }]);
  rmSync(at("e.json"), { recursive: true });
  renameSync(at(""), join(outside, "holders"));
  symlinkSync(join(outside, "holders"), at(""));
  t.match((await verify()).findings, [{ path: at(""), problem: /symbolic link/ }]);
});

t.test("what nobody needs any more is a note, unless a record cannot be read", async (t) => {
  const { at, verify, core, holders } = await makeStore(t);
  const digests = { digests: new Uint8Array(16), deviceDigest: new Uint8Array(32) };
  const unneeded = { generation: 2, root: "ef".repeat(32) };
  await holders.keepDigests(core, unneeded, digests);
  writeFileSync(at(".partial-x"), "");
  const { findings, notes } = await verify();
  t.strictSame(findings, []);
  t.strictSame(notes, [
    { path: at(".partial-x"), note: "left over by something interrupted" },
    { path: at(`${unneeded.root}.digests`), note: "digests of a generation that no other site holds" },
  ]);
  writeFileSync(at("d.json"), "");
  t.strictSame(
    (await verify()).notes.map(({ path }) => path),
    [at(".partial-x")],
  );
});

t.test("digests of a disk: every entry and node counts, under this key only", async (t) => {
  const { core, key, store, at, model, holders } = await makeStore(t);
  const image = await addImage(model, "root", new Uint8Array(diskBytes).map(noiseFrom(1)));
  const opened = await openDigests(core, key, store.images, image.image.id);
  await holders.keepDiskDigests(core, key, held, "root", opened.digests);
  opened.close();
  const path = at(`${root}.root.digests`);
  const bytes = readFileSync(path);
  const disk = { name: "root", lengthBytes: diskBytes, image: "root-00000000" };
  const check = async (disks = [disk], under = key) => {
    const log = new FindingLog();
    await checkHolders({ core, log, key: under, vmPath: store.path, manifests: [null, { disks }] });
    return { findings: log.findings, notes: log.notes };
  };
  t.strictSame(await check(), { findings: [], notes: [] });
  t.strictSame(await check([{ ...disk, lengthBytes: page }, disk]), { findings: [], notes: [] });
  t.match((await check([disk], new Uint8Array(32))).findings, [{ path, problem: /key is another VM's/ }]);
  t.match(await check([{ ...disk, name: "data" }]), { findings: [], notes: [{ path, note: /not checked/ }] });
  const missed: number[] = [];
  // 300 entries in two windows, 5 nodes, one top.
  for (const [from, entries] of [
    [0, 300],
    [8192, 5],
    [12288, 1],
  ]) {
    for (let at = from; at < from + entries * 16; at += from === 0 ? 5 : 1) {
      const damaged = Buffer.from(bytes);
      damaged[at] ^= 1 << (at & 7);
      writeFileSync(path, damaged);
      if ((await check()).findings.length !== 1) missed.push(at);
    }
  }
  t.strictSame(missed, []);
  writeFileSync(path, bytes.subarray(0, -1));
  t.match((await check()).findings, [{ path, problem: /not the digests of a disk/ }]);
});

import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import t from "tap";
import { exportCommand } from "../../cli/commands/export.ts";
import { firstMemory, ModelStore, nextMemory, page } from "../store/model-store.ts";
import { runInTest } from "../verify/command-output.ts";
import { flip } from "../verify/disk-store.ts";
import { Contents } from "./stream-contents.ts";

t.test(
  "a seed is not exported: without a number it is left out, and with its own it is refused",
  async (t) => {
    const model = await ModelStore.create(t.testdir());
    const [first] = await model.addChain(0);
    await model.add(firstMemory(model.memoryBytes), first, null);
    const out = join(t.testdirName, "out");
    const where = ["web1", "--store", model.storePath, "--out", out];
    t.equal((await runInTest(t, exportCommand(), ...where)).code, 0);
    t.match(JSON.parse(readFileSync(join(out, "export.json"), "utf8")), { generation: 1 });
    const refused = await runInTest(t, exportCommand(), ...where, "--generation", "2", "--force");
    t.match(refused, {
      code: 2,
      diagnostics: /generation 2 of web1: it is a seed, whose memory is not of one instant/,
    });
  },
);

t.test("RAM as raw files, one for each region, of any generation of a chain", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const chain = await model.addChain(2);
  for (const { manifest, directory } of chain) {
    const out = join(t.testdirName, `out-${manifest.generation}`);
    const [vm, ...where] =
      manifest.generation === 2
        ? [directory]
        : ["web1", "--store", model.storePath, "--generation", String(manifest.generation)];
    const { code, lines } = await runInTest(t, exportCommand(), vm, ...where, "--out", out);
    t.equal(code, 0);
    t.match(lines.at(-1), /every page, block and digest is as it was committed/);
    const memory = model.memories.get(manifest.generation) as Uint8Array;
    const ram = readFileSync(join(out, "ram-0-pc.ram.raw"));
    const vram = readFileSync(join(out, "ram-1-vga.vram.raw"));
    t.ok(Buffer.concat([ram, vram]).equals(memory), `generation ${manifest.generation}`);
    t.match(JSON.parse(readFileSync(join(out, "export.json"), "utf8")), {
      format: 1,
      vm: "web1",
      root: manifest.root,
      intact: true,
      files: [
        { file: "ram-0-pc.ram.raw", name: "pc.ram", bytes: 40 * page },
        { file: "ram-1-vga.vram.raw", name: "vga.vram", bytes: 7 * page },
      ],
    });
    t.strictSame(
      readdirSync(out).filter((name) => name.startsWith(".")),
      [],
      "nothing is left over",
    );
  }
});

t.test("the newest generation as a stream", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const [first] = await model.addChain(0);
  await model.add(nextMemory(firstMemory(model.memoryBytes), 1), first, "\x04device\0");
  const out = join(t.testdirName, "out");
  const args = ["web1", "--store", model.storePath, "--out", out, "--format", "stream"];
  const { lines, code } = await runInTest(t, exportCommand(), "--json", ...args);
  t.equal(code, 0);
  t.match(JSON.parse(lines[0]), { event: "done", generation: 2, intact: true, files: [{ kind: "stream" }] });
  const stream = new Contents([readFileSync(join(out, "migration.stream"))]);
  t.equal(stream.machine, "pc-i440fx-7.2");
  t.equal(Buffer.from(stream.deviceState).toString(), "\x04device\0");
  t.strictSame(
    stream.blocks.map(({ id, lengthBytes }) => [id, lengthBytes]),
    [
      ["pc.ram", 40 * page],
      ["vga.vram", 7 * page],
    ],
  );
  const pages = stream.pages.flatMap((block) => [...block.values()]);
  t.equal(pages.length, 47, "every page is in it, zero or not");
  const memory = Buffer.concat(pages.map((bytes) => bytes ?? new Uint8Array(page)));
  t.ok(memory.equals(model.memories.get(2) as Uint8Array));
});

t.test("the memory of a branch, from its folder", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const [first] = await model.addChain(0);
  const { branches } = model.store;
  await branches.prepare();
  await branches.takeMemory(first.directory, "3-b");
  const out = join(t.testdirName, "out");
  const args = [join(branches.path, "3-b"), "--out", out];
  t.equal((await runInTest(t, exportCommand(), ...args)).code, 0, "its key is found beside the store");
  const files = ["ram-0-pc.ram.raw", "ram-1-vga.vram.raw"].map((name) => readFileSync(join(out, name)));
  t.ok(Buffer.concat(files).equals(model.memories.get(1) as Uint8Array));
  flip(join(branches.path, "3-b", "ram.img"), 4 * page);
  t.match(await runInTest(t, exportCommand(), ...args, "--force"), {
    code: 5,
    lines: [/^pc.ram: page 4: not/],
  });
});

t.test("files are only replaced by force, and others never", async (t) => {
  const model = await ModelStore.create(t.testdir());
  await model.addChain(0);
  const out = join(t.testdirName, "out");
  mkdirSync(out);
  writeFileSync(join(out, "mine"), "mine");
  const args = ["web1", "--store", model.storePath, "--out", out];
  t.equal((await runInTest(t, exportCommand(), ...args)).code, 0, "another file is not in the way");
  const target = join(out, "ram-0-pc.ram.raw");
  writeFileSync(target, "old");
  const refused = await runInTest(t, exportCommand(), ...args);
  t.match(refused, {
    code: 6,
    diagnostics: /ram-0-pc.ram.raw, .* would be replaced; use another folder, or --force/,
  });
  t.equal(readFileSync(target, "utf8"), "old");
  t.equal((await runInTest(t, exportCommand(), "--force", ...args)).code, 0);
  t.equal(readFileSync(target).length, 40 * page);
  t.equal(readFileSync(join(out, "mine"), "utf8"), "mine");
});

t.test("where nothing can or should be written", async (t) => {
  const model = await ModelStore.create(t.testdir({ file: "", taken: { "ram-0-pc.ram.raw": {} } }));
  const [first] = await model.addChain(0);
  const before = readdirSync(first.directory);
  const tries: [string, number, RegExp][] = [
    [join(t.testdirName, "file"), 1, /Cannot write to .*file is not a folder/],
    [join(t.testdirName, "file", "out"), 1, /Cannot write to .*out: ENOTDIR/],
    ["", 2, /--out names no folder/],
    ["/proc/out", 1, /Cannot write to \/proc\/out: ENOENT/],
    [join(t.testdirName, "taken"), 6, /ram-0-pc.ram.raw is a folder/],
    [first.directory, 6, /it lies in .*store, which is only read/],
    [join(model.storePath, "web1", "new", "folder"), 6, /it lies in .*store, which is only read/],
  ];
  for (const [out, code, diagnostics] of tries) {
    const end = await runInTest(t, exportCommand(), first.directory, "--force", "--out", out);
    t.match(end, { code, diagnostics }, out);
  }
  t.strictSame(readdirSync(first.directory), before, "the store is as it was");
  t.notOk(existsSync(join(model.storePath, "web1", "new")));
});

t.test("damaged content is refused with its place, and written only when that is asked for", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const [first] = await model.addChain(0);
  flip(join(first.directory, "ram.img"), 4 * page + 5);
  flip(join(first.directory, "ram.img"), 5 * page + 5);
  flip(join(first.directory, "ram.img"), 41 * page);
  const out = join(t.testdirName, "out");
  const args = ["web1", "--store", model.storePath, "--out", out];
  const refused = await runInTest(t, exportCommand(), ...args);
  t.equal(refused.code, 5);
  t.match(refused.diagnostics, /its content is damaged; --damaged writes it all the same/);
  t.match(refused.lines, [/^pc.ram: pages 4 to 5: not the content/, /^vga.vram: page 1: not the content/]);
  t.strictSame(readdirSync(out), [], "nothing is left");
  const json = await runInTest(t, exportCommand(), "--json", ...args);
  t.match(
    json.lines.map((line) => JSON.parse(line)),
    [
      { event: "finding", where: "pc.ram", first: 4, count: 2 },
      { event: "finding", where: "vga.vram", first: 1, count: 1 },
      { event: "error", reason: "verificationFailed", code: 5 },
    ],
  );
  const written = await runInTest(t, exportCommand(), "--damaged", ...args);
  t.equal(written.code, 0);
  t.match(written.lines[0], /^pc.ram: pages 4 to 5/);
  t.match(written.lines.at(-1), /DAMAGED/);
  t.match(JSON.parse(readFileSync(join(out, "export.json"), "utf8")), {
    intact: false,
    findings: { length: 2 },
  });
  t.equal(readFileSync(join(out, "ram-0-pc.ram.raw")).length, 40 * page);
});

t.test("content whose digests were altered with it does not have the root", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const [first] = await model.addChain(0);
  const image = readFileSync(join(first.directory, "ram.img"));
  const digests = readFileSync(join(first.directory, "digests"));
  const swapped = (bytes: Buffer, size: number) => {
    const one = Buffer.from(bytes.subarray(size, 2 * size));
    bytes.copy(bytes, size, 2 * size, 3 * size);
    one.copy(bytes, 2 * size);
    return bytes;
  };
  writeFileSync(join(first.directory, "ram.img"), swapped(image, page));
  writeFileSync(join(first.directory, "digests"), swapped(digests, 16));
  const out = join(t.testdirName, "out");
  const { code, lines } = await runInTest(t, exportCommand(), first.directory, "--out", out);
  t.equal(code, 5);
  t.match(lines, [/^the root over content and device state is [0-9a-f]{64}, not /]);
});

t.test("what cannot be read at all", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const [first, second] = await model.addChain(1);
  const out = join(t.testdirName, "out");
  const run = async (...more: string[]) =>
    await runInTest(t, exportCommand(), second.directory, "--out", out, ...more);
  flip(join(second.directory, "device"), 50);
  t.match(await run("--format", "stream", "--damaged"), { code: 5, diagnostics: /checksum does not match/ });
  t.match(
    await run("--damaged"),
    { code: 0, lines: [/^device state: Cannot accept frame/] },
    "raw needs none",
  );
  rmSync(out, { recursive: true });
  flip(join(second.directory, "device"), 50);
  writeFileSync(join(second.directory, "digests"), "cut");
  t.match(await run(), { code: 5, lines: [/digests: 3 bytes, 752 expected/] });
  writeFileSync(join(second.directory, "delta"), "");
  t.match(await run("--damaged"), { code: 5, diagnostics: /it has no valid trailer/ });
  renameSync(join(first.directory, "ram.img"), join(t.testdirName, "ram.img"));
  symlinkSync(join(t.testdirName, "ram.img"), join(first.directory, "ram.img"));
  t.match(
    await run("--damaged"),
    { code: 5, diagnostics: /ram.img is not a regular file/ },
    "no link is followed",
  );
  rmSync(first.directory, { recursive: true });
  t.match(await run("--damaged"), { code: 5, diagnostics: /generations\/1 is not usable/ });
  t.strictSame(readdirSync(out), []);
});

t.test("wrong use", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const [first] = await model.addChain(0);
  const out = join(t.testdirName, "out");
  const tries: [string[], RegExp][] = [
    [
      ["web1", "--store", model.storePath, "--generation", "9"],
      /no generation 9 of web1 is in .*; there are 1/,
    ],
    [["web2", "--store", model.storePath], /no generation of web2/],
    [["../web1", "--store", model.storePath], /is no name/],
    [[first.directory, "--generation", "1"], /--generation needs --store/],
    [["web1", "--store", model.storePath, "--generation", "x"], /a whole number from 1 on is needed/],
    [[model.storePath], /is no folder of a generation/],
    [
      [join(model.storePath, "none")],
      /there is no folder .*none"; VMs and numbers of generations need --store/,
    ],
  ];
  for (const [args, message] of tries) {
    t.match(await runInTest(t, exportCommand(), ...args, "--out", out), { code: 2, diagnostics: message });
  }
  rmSync(`${model.storePath}.keys`, { recursive: true });
  const noKey = await runInTest(t, exportCommand(), first.directory, "--out", out);
  t.match(noKey, { code: 2, diagnostics: /^bfmig: Cannot export .*its digest key .* is missing/ });
  t.notOk(existsSync(out));
});

import { spawnSync } from "node:child_process";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { type FileIdentity, fileIdentity } from "../../cli/file-identity.ts";
import { openPrivateMapping, type PrivateMapping, type ProcessIdentity } from "../../cli/qemu/pagemap.ts";
import { startMapping } from "./mapping-process.ts";
import { launchTestQemu, MEMORY_BYTES, type Teardown, temporaryFolder } from "./qemu-fixture.ts";

const page = 4096;
const pages = 1500;
const lengthBytes = pages * page;
const needsLinux =
  process.platform === "linux" && process.arch === "x64" ? {} : { skip: "only Linux has /proc/PID/pagemap" };
const needsRoot = process.geteuid?.() === 0 ? needsLinux : { skip: "only root can become another user" };

/** A file whose pages begin with 1 + their number modulo 200, but for every tenth, which is a hole. */
async function makeFile(test: Teardown): Promise<string> {
  const path = join(await temporaryFolder(test), "ram.img");
  const bytes = new Uint8Array(lengthBytes);
  for (let i = 0; i < pages; i++) bytes[i * page] = firstByte(i);
  writeFileSync(path, bytes);
  return path;
}

function firstByte(number: number): number {
  return number % 10 === 9 ? 0 : 1 + (number % 200);
}

async function mustOpen(
  test: Teardown,
  identity: ProcessIdentity,
  file: FileIdentity,
  length = lengthBytes,
): Promise<PrivateMapping> {
  const mapping = await openPrivateMapping(identity, file, length);
  if (mapping === null) throw new Error("the mapping was not found");
  test.teardown(() => mapping.close());
  return mapping;
}

function written(mapping: PrivateMapping): number[] {
  const marks = new Uint8Array(mapping.pages);
  mapping.look(0, mapping.pages, marks);
  return [...marks.keys()].filter((i) => marks[i] === 0);
}

t.test("pages are unwritten until they are written to, whoever has read them", needsLinux, async (t) => {
  const path = await makeFile(t);
  const child = await startMapping(t, path, lengthBytes);
  const mapping = await mustOpen(t, child, await fileIdentity(path));
  t.equal(mapping.pages, pages);
  t.strictSame(written(mapping), [], "nothing was touched");
  for (let i = 0; i < pages; i += 3) await child.do("read", i);
  t.strictSame(written(mapping), [], "nor does reading make a copy");
  const expected = new Set<number>();
  let seed = 1;
  for (let i = 0; i < 300; i++) {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    const number = (seed >>> 8) % pages;
    // What the file has as well: written all the same.
    await child.do("write", number, i % 2 === 0 ? 255 : firstByte(number));
    expected.add(number);
  }
  for (const number of [0, 511, 512, pages - 1]) {
    await child.do("write", number, 255);
    expected.add(number);
  }
  t.strictSame(
    written(mapping),
    [...expected].sort((a, b) => a - b),
  );
  const marks = new Uint8Array(10).fill(7);
  mapping.look(508, 10, marks);
  t.strictSame(
    [...marks],
    Array.from({ length: 10 }, (_, i) => (expected.has(508 + i) ? 0 : 1)),
  );
});

t.test("what is said to be unwritten reads as the file has it, whatever was done", needsLinux, async (t) => {
  const path = await makeFile(t);
  const child = await startMapping(t, path, lengthBytes);
  const mapping = await mustOpen(t, child, await fileIdentity(path));
  const mark = new Uint8Array(1);
  const actions = ["write", "read", "write", "discard"] as const;
  let unwritten = 0;
  let seed = 7;
  for (let i = 0; i < 1500; i++) {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    const number = (seed >>> 8) % 40;
    await child.do(actions[seed >>> 30]!, number, 255);
    const content = await child.do("read", number);
    mapping.look(number, 1, mark);
    if (mark[0] === 0) continue;
    unwritten++;
    if (content !== firstByte(number)) t.fail(`page ${number} reads ${content} and is called unwritten`);
  }
  t.ok(unwritten > 100 && unwritten < 1400, `${unwritten} looks found the file's page`);
});

t.test(
  "a file that has lost its name is still found, and one that has got it is not",
  needsLinux,
  async (t) => {
    const path = await makeFile(t);
    const file = await fileIdentity(path);
    const child = await startMapping(t, path, lengthBytes);
    const content = readFileSync(path);
    rmSync(path);
    writeFileSync(path, content);
    t.equal(await openPrivateMapping(child, await fileIdentity(path), lengthBytes), null);
    const mapping = await mustOpen(t, child, file);
    await child.do("write", 3, 1);
    t.strictSame(written(mapping), [3]);
  },
);

t.test("a mapping that is not what was expected is not used", needsLinux, async (t) => {
  const path = await makeFile(t);
  const file = await fileIdentity(path);
  const child = await startMapping(t, path, lengthBytes);
  t.equal(await openPrivateMapping(child, file, lengthBytes - page), null, "another length");
  t.equal(await openPrivateMapping({ ...child, startTime: "x" }, file, lengthBytes), null, "another process");
  const other = { ...file, inode: file.inode + 1n };
  t.equal(await openPrivateMapping(child, other, lengthBytes), null, "another file");
  const device = { ...file, device: file.device + 1n };
  t.equal(await openPrivateMapping(child, device, lengthBytes), null, "on another disk");
  const shared = await startMapping(t, path, lengthBytes, { shared: true });
  t.equal(await openPrivateMapping(shared, file, lengthBytes), null, "a shared one: writes show in no copy");
  const twice = await startMapping(t, path, lengthBytes, { copies: 2 });
  t.equal(await openPrivateMapping(twice, file, lengthBytes), null, "two of them");
});

t.test("of a process that is gone nothing is known", needsLinux, async (t) => {
  const path = await makeFile(t);
  const file = await fileIdentity(path);
  const child = await startMapping(t, path, lengthBytes);
  const mapping = await mustOpen(t, child, file);
  await child.end();
  t.equal(written(mapping).length, pages, "every page is taken for written");
  t.equal(await openPrivateMapping(child, file, lengthBytes), null);
  mapping.close();
  mapping.close();
  t.equal(written(mapping).length, pages, "also after it was closed");
});

t.test("pages outside are refused", needsLinux, async (t) => {
  const path = await makeFile(t);
  const mapping = await mustOpen(t, await startMapping(t, path, lengthBytes), await fileIdentity(path));
  const marks = new Uint8Array(8);
  t.throws(() => mapping.look(pages - 1, 2, marks), RangeError);
  t.throws(() => mapping.look(-1, 2, marks), RangeError);
  t.throws(() => mapping.look(0, 9, marks), RangeError);
});

t.test("without the right to look there is no answer", needsRoot, async (t) => {
  const path = await makeFile(t);
  const child = await startMapping(t, path, lengthBytes);
  const module = new URL("../../cli/qemu/pagemap.js", import.meta.url).href;
  const { device, inode } = await fileIdentity(path);
  const look = `const { openPrivateMapping } = await import(${JSON.stringify(module)});
    const file = { device: ${device}n, inode: ${inode}n };
    const identity = ${JSON.stringify({ pid: child.pid, startTime: child.startTime })};
    console.log((await openPrivateMapping(identity, file, ${lengthBytes})) === null ? "none" : "found");`;
  const run = (id: object) =>
    spawnSync(process.execPath, ["--input-type=module", "-e", look], { encoding: "utf8", ...id });
  t.match(run({}), { status: 0, stdout: "found\n" });
  const other = run({ uid: 65534, gid: 65534 });
  // Where another user cannot even read the program there is no answer either.
  t.notMatch(other.stdout, "found", other.stderr);
});

t.test(
  "a QEMU's mapped image is found, also read-only, and a QEMU without one has none",
  needsLinux,
  async (t) => {
    const folder = await temporaryFolder(t);
    const path = join(folder, "ram.img");
    // As in a store: behind the main RAM the file has the small regions.
    writeFileSync(path, new Uint8Array(MEMORY_BYTES + 16 * page));
    const memory = { kind: "image", path, rom: false } as const;
    const qemu = await launchTestQemu(t, { memory, incoming: true, paused: true });
    const file = await fileIdentity(path);
    const mapping = await mustOpen(t, qemu, file, MEMORY_BYTES);
    t.equal(mapping.pages, MEMORY_BYTES / page);
    t.strictSame(written(mapping), [], "QEMU touches nothing while it waits for a stream");
    const fresh = await launchTestQemu(t, { memory, incoming: false, paused: false });
    const running = await mustOpen(t, fresh, file, MEMORY_BYTES);
    const deadline = Date.now() + 60_000;
    while (written(running).length === 0 && Date.now() < deadline) await fresh.qmp.execute("query-status");
    t.not(written(running).length, 0, "its firmware writes");
    const plain = await launchTestQemu(t);
    t.equal(await openPrivateMapping(plain, file, MEMORY_BYTES), null);
  },
);

/** The hash pool against digests that are made in this thread. */

import { spawnSync } from "node:child_process";
import {
  closeSync,
  constants,
  ftruncateSync,
  openSync,
  readFileSync,
  readSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import t from "tap";
import { openFile, withFile } from "../../cli/verify/file-window.ts";
import { HashPool } from "../../cli/verify/hash-pool.ts";
import { verifyPaths } from "../../cli/verify/verify.ts";
import { loadCore } from "../../src/core.ts";
import { CorePageHasher, maxRangePages, type PageRange } from "../../src/verify/page-hashing.ts";
import { accessBytes } from "../../src/verify/random-access.ts";
import { ModelStore, noiseFrom, page } from "../store/model-store.ts";

const key = new Uint8Array(32).map((_, i) => 200 - i);
const pages = 700;

/** A file with noise, pages of zeroes, a window of zeroes and a hole at the end. */
function makeImage(folder: string): { path: string; bytes: Uint8Array } {
  const bytes = new Uint8Array(pages * page);
  const noise = noiseFrom(3);
  for (let number = 0; number < 300; number++) {
    if (number % 7 === 0) continue;
    for (let i = 0; i < page; i++) bytes[number * page + i] = noise();
  }
  bytes[650 * page + 9] = 1;
  const path = join(folder, "ram.img");
  const descriptor = openSync(path, constants.O_CREAT | constants.O_WRONLY);
  writeSync(descriptor, bytes, 0, 300 * page, 0);
  writeSync(descriptor, bytes, 650 * page, page, 650 * page);
  ftruncateSync(descriptor, bytes.length);
  closeSync(descriptor);
  return { path, bytes };
}

function poolFor(t: { teardown(run: () => Promise<void>): void }, threads: number): HashPool {
  const pool = new HashPool(threads);
  t.teardown(() => pool.close());
  return pool;
}

t.test("ranges that are asked for at once have the digests that one thread gives them", async (t) => {
  const { path, bytes } = makeImage(t.testdir());
  const core = await loadCore();
  const wanted = new Uint8Array(pages * 16);
  for (let i = 0; i < pages; i++)
    wanted.set(core.blake3(bytes.subarray(i * page, i * page + page), key, 16), i * 16);
  for (const threads of [1, 3]) {
    const pool = poolFor(t, threads);
    t.ok(pool.lanes > threads, "a thread has work while another range is looked at");
    const found = new Uint8Array(pages * 16);
    await withFile(path, async (input) => {
      const ranges: Promise<void>[] = [];
      for (let firstPage = 0; firstPage < pages; firstPage += 23) {
        const count = Math.min(23, pages - firstPage);
        const out = found.subarray(firstPage * 16, (firstPage + count) * 16);
        ranges.push(pool.digestPages({ key, input, firstPage, count, out }));
      }
      await Promise.all(ranges);
      t.strictSame(found, wanted, `${threads} threads`);
      const whole = new Uint8Array(pages * 16);
      await pool.digestPages({ key, input, firstPage: 0, count: pages, out: whole });
      t.strictSame(whole, wanted, "windows of one range");
    });
  }
});

t.test("each range has its own key", async (t) => {
  const { path, bytes } = makeImage(t.testdir());
  const core = await loadCore();
  const pool = poolFor(t, 1);
  await withFile(path, async (input) => {
    for (const seed of [1, 2, 1]) {
      const own = new Uint8Array(32).fill(seed);
      const out = new Uint8Array(32);
      await pool.digestPages({ key: own, input, firstPage: 6, count: 2, out });
      for (const i of [0, 1]) {
        const wanted = core.blake3(bytes.subarray((6 + i) * page, (7 + i) * page), own, 16);
        t.strictSame(out.subarray(i * 16, i * 16 + 16), wanted, `key ${seed}, page ${6 + i}`);
      }
    }
  });
});

t.test("a file that ends too early and one that cannot be read give the errors of one thread", async (t) => {
  const { path } = makeImage(t.testdir());
  const inline = new CorePageHasher(await loadCore());
  const pool = poolFor(t, 2);
  const input = openFile(path);
  const blind = openSync(path, constants.O_WRONLY);
  const out = new Uint8Array(300 * 16);
  const unreadable = { ...input, descriptor: blind, readSync: readerOf(blind) };
  const beyond: PageRange = { key, input, firstPage: 500, count: 300, out };
  const failures = [];
  for (const hasher of [inline, pool]) failures.push(await hasher.digestPages(beyond).catch(plain));
  t.match(failures[0], { name: "FormatError", code: "truncated", offset: pages * page });
  t.strictSame(failures[1], failures[0]);
  const refused = await pool.digestPages({ ...beyond, firstPage: 0, input: unreadable }).catch(plain);
  t.match(refused, { name: "SourceError", cause: { code: "EBADF", syscall: "read" } });
  t.strictSame(
    refused,
    await inline.digestPages({ ...beyond, firstPage: 0, input: unreadable }).catch(plain),
  );
  await pool.digestPages({ key, input, firstPage: 0, count: 300, out });
  t.ok(
    out.some((byte) => byte !== 0),
    "the pool goes on",
  );
  input.close();
  closeSync(blind);
});

/** Reads that fail, if the descriptor was opened for writing only. */
function readerOf(descriptor: number): (target: Uint8Array, at: number) => number {
  return (target, at) => readSync(descriptor, target, 0, target.length, at);
}

function plain(error: unknown): object {
  const { name, message, code, offset, cause } = error as Error & Record<string, unknown>;
  const { code: causeCode, errno, syscall, message: causeMessage } = (cause ?? {}) as NodeJS.ErrnoException;
  return { name, message, code, offset, cause: { code: causeCode, errno, syscall, message: causeMessage } };
}

t.test("ranges that are not possible are the caller's mistakes", async (t) => {
  const pool = poolFor(t, 1);
  const { path } = makeImage(t.testdir());
  await withFile(path, async (input) => {
    const out = new Uint8Array(32);
    const range = { key, input, firstPage: 0, count: 2, out };
    await t.rejects(pool.digestPages({ ...range, count: 0 }), RangeError);
    await t.rejects(pool.digestPages({ ...range, count: 3 }), RangeError);
    const large = { count: maxRangePages + 1, out: new Uint8Array((maxRangePages + 1) * 16) };
    await t.rejects(pool.digestPages({ ...range, ...large }), RangeError);
    await t.rejects(pool.digestPages({ ...range, input: accessBytes(new Uint8Array(8192)) }), TypeError);
  });
  for (const threads of [0, 1.5]) t.throws(() => new HashPool(threads), RangeError);
});

t.test("what is under way or asked for after the end fails, and no thread is left", async (t) => {
  const { path } = makeImage(t.testdir());
  const pool = new HashPool(1);
  await withFile(path, async (input) => {
    const ask = () =>
      pool.digestPages({ key, input, firstPage: 0, count: 700, out: new Uint8Array(700 * 16) }).then(
        () => "done",
        (error: Error) => error.message,
      );
    const asked = Array.from({ length: 6 }, ask);
    await pool.close();
    t.strictSame(new Set(await Promise.all(asked)), new Set(["Cannot hash: the threads were ended"]));
    t.equal(await ask(), "Cannot hash: the threads were ended");
    await pool.close();
  });
});

t.test("a program ends when its pool is closed, also when it fails", async (t) => {
  const path = join(t.testdir(), "program.mjs");
  const url = new URL("../../cli/verify/hash-pool.js", import.meta.url).href;
  writeFileSync(
    path,
    `import { HashPool } from ${JSON.stringify(url)};
     const pool = new HashPool(2);
     try { throw new Error("as planned"); } finally { await pool.close(); }`,
  );
  const { status, signal, stderr } = spawnSync(process.execPath, [path], {
    encoding: "utf8",
    timeout: 60_000,
  });
  t.strictSame({ status, signal }, { status: 1, signal: null });
  t.match(stderr, "as planned");
});

t.test("a store is verified alike with threads and without; a small one starts none", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const [first] = await model.addChain(2);
  const path = join(first.directory, "ram.img");
  const image = readFileSync(path);
  image[4 * page] ^= 1;
  writeFileSync(path, image);
  const one = await verifyPaths([model.storePath]);
  t.ok(one.findings.length > 0);
  let started = 0;
  const count = () => started++;
  process.on("worker", count);
  t.teardown(() => process.off("worker", count));
  const all = 3 * model.memoryBytes;
  for (const [threadsFromBytes, threads] of [
    [0, 2],
    [all, 2],
    [all + 1, 0],
    [undefined, 0],
  ] as const) {
    started = 0;
    const least = threadsFromBytes === undefined ? {} : { threadsFromBytes };
    t.strictSame(await verifyPaths([model.storePath], { jobs: 2, ...least }), one);
    t.equal(started, threads, `threads from ${threadsFromBytes} bytes on`);
  }
});

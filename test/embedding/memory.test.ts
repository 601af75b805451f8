/** Memory comes back: of cores that nobody refers to, and of windows in a core. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import t from "tap";
import * as api from "../../src/index.ts";
import { makeSmallChain } from "../portable/small-generation.ts";

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

const INSTANCES = 200;
const TOUCHED_BYTES = 8 << 20;

/** Makes cores with memory in use, one after the other, and keeps only weak references to their memories. */
async function makeAndDrop(count: number): Promise<WeakRef<ArrayBuffer>[]> {
  const dropped: WeakRef<ArrayBuffer>[] = [];
  for (let i = 0; i < count; i++) {
    const core = await api.loadCore();
    api
      .openWindow(core, TOUCHED_BYTES)
      .bytes()
      .fill(i + 1);
    dropped.push(new WeakRef(core.bytes().buffer));
  }
  return dropped;
}

async function collected(references: readonly WeakRef<object>[]): Promise<number> {
  for (let i = 0; i < 5; i++) {
    // A reference that was made or asked for in this turn stays until the next one.
    await new Promise((wake) => setImmediate(wake));
    collectGarbage();
  }
  return references.filter((reference) => reference.deref() === undefined).length;
}

t.test("cores that were dropped are collected with their memory", async (t) => {
  await makeAndDrop(3);
  const before = process.memoryUsage().rss;
  const dropped = await makeAndDrop(INSTANCES);
  t.ok((await collected(dropped)) >= INSTANCES - 2, "all but what the last call may still refer to");
  const grown = process.memoryUsage().rss - before;
  t.ok(grown < (INSTANCES * TOUCHED_BYTES) / 4, `${grown >> 20} MiB more than before`);
});

t.test("cores of arrays that were dropped are collected", async (t) => {
  const make = async () => {
    const dropped: WeakRef<object>[] = [];
    for (let i = 0; i < INSTANCES; i++) {
      const core = await api.loadArrayCore();
      core.compress(new Uint8Array(100_000));
      dropped.push(new WeakRef(core));
    }
    return dropped;
  };
  t.ok((await collected(await make())) >= INSTANCES - 2);
});

t.test("200 cores live side by side", async (t) => {
  const cores = await Promise.all(Array.from({ length: INSTANCES }, () => api.loadCore()));
  const windows = cores.map((core, i) => {
    const window = api.openWindow(core, 4096);
    window.bytes().fill(i);
    return window;
  });
  t.ok(windows.every((window, i) => window.bytes().every((byte) => byte === (i & 0xff))));
});

t.test("a core does not grow when windows of changing sizes come and go", async (t) => {
  const core = await api.loadCore();
  const sizes = [4096, 1 << 20, 300_000, 1 << 18, 40_000];
  const round = (shift: number) => {
    const windows = sizes.map((_, i) => api.openWindow(core, sizes[(i + shift) % sizes.length]!));
    for (const window of windows) window.release();
  };
  for (let i = 0; i < 10; i++) round(i);
  const before = core.bytes().length;
  for (let i = 0; i < 500; i++) round(i);
  t.equal(core.bytes().length, before);
});

t.test("a core does not grow when it verifies again and again", async (t) => {
  const { key, generations } = await makeSmallChain(api);
  const core = await api.loadCore();
  const inputs = generations.map(({ name, files }) => ({
    name,
    files: new Map([...files].map(([file, bytes]) => [file, api.accessBytes(bytes)])),
  }));
  const verify = async () => {
    const { findings } = await api.verifyGenerations(core, inputs, { key });
    t.strictSame(findings, []);
  };
  for (let i = 0; i < 3; i++) await verify();
  const before = core.bytes().length;
  for (let i = 0; i < 20; i++) await verify();
  t.equal(core.bytes().length, before);
});

t.test("a core does not grow when it encodes and decodes deltas again and again", async (t) => {
  const core = await api.loadCore();
  for (let i = 0; i < 3; i++) await makeSmallChain(api, core);
  const before = core.bytes().length;
  for (let i = 0; i < 30; i++) await makeSmallChain(api, core);
  t.equal(core.bytes().length, before);
});

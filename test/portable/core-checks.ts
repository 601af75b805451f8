/** Arrays in, arrays out: the core's functions against naive ones, and many cores side by side. */
import { type Api, must, mustEqual, mustHaveBytes, mustThrow, noise, type PortableCheck } from "./check.ts";
import { naiveCount, naiveDiff, naiveLz4 } from "./naive.ts";
import { blake3Key, blake3Vectors } from "./published.ts";

const PAGE_BYTES = 4096;

/** A base and the same page with some changed bytes, for several amounts of change. */
function changedPages(): { base: Uint8Array; page: Uint8Array }[] {
  return [0, 1, 7, 60, 600, PAGE_BYTES].map((changes) => {
    const base = noise(PAGE_BYTES, changes + 1);
    const page = base.slice();
    for (let i = 0; i < changes; i++) page[(i * 1237) % PAGE_BYTES]! ^= 0x41;
    return { base, page };
  });
}

export const coreChecks: readonly PortableCheck[] = [
  {
    name: "pages are diffed as the naive twin does, and diffs make the page again",
    run: async (api) => {
      const core = await api.loadArrayCore();
      for (const { base, page } of changedPages()) {
        const diff = core.diffPages(page, base);
        mustHaveBytes(diff, naiveDiff(page, base), "the diff");
        mustHaveBytes(core.applyDiff(base, diff), page, "the page");
      }
    },
  },
  {
    name: "LZ4 blocks decode with a naive decoder, and with the core",
    run: async (api) => {
      const core = await api.loadArrayCore();
      for (const length of [0, 1, 13, 100, PAGE_BYTES, 70_000]) {
        const data = noise(length, length, 3);
        const block = core.compress(data);
        mustHaveBytes(naiveLz4(block), data, `${length} bytes, naively`);
        mustHaveBytes(core.decompress(block, length), data, `${length} bytes`);
      }
      mustThrow(() => core.decompress(Uint8Array.of(0xf0), 9), "FormatError", "a block that ends early");
    },
  },
  {
    name: "BLAKE3 has the published digests, also of pages",
    run: async (api) => {
      const [arrays, core] = [await api.loadArrayCore(), await api.loadCore()];
      const key = new TextEncoder().encode(blake3Key);
      for (const [length, hash, keyedHash] of blake3Vectors) {
        const data = new Uint8Array(length).map((_, i) => i % 251);
        mustEqual(api.toHex(arrays.blake3(data)), hash, `hash of ${length} bytes`);
        mustEqual(api.toHex(core.blake3(data, key)), keyedHash, `keyed hash of ${length} bytes`);
        if (length !== PAGE_BYTES) continue;
        mustEqual(api.toHex(arrays.pageDigest(data, key)), keyedHash.slice(0, 32), "page digest");
      }
    },
  },
  {
    name: "bitmaps are combined and counted",
    run: async (api) => {
      const core = await api.loadArrayCore();
      const [a, b] = [noise(77, 1), noise(77, 2)];
      mustHaveBytes(
        core.bitmapOr(a, b),
        a.map((byte, i) => byte | b[i]!),
        "or",
      );
      mustHaveBytes(
        core.bitmapAnd(a, b),
        a.map((byte, i) => byte & b[i]!),
        "and",
      );
      mustHaveBytes(
        core.bitmapAndNot(a, b),
        a.map((byte, i) => byte & ~b[i]!),
        "and not",
      );
      mustEqual(core.bitmapCount(a, 613), naiveCount(a, 613), "count");
      mustThrow(() => core.bitmapOr(a, new Uint8Array(76)), "RangeError", "other lengths");
    },
  },
  {
    name: "cores have memories of their own",
    run: async (api) => {
      const cores = await Promise.all(Array.from({ length: 20 }, () => api.loadCore()));
      const pointers = cores.map((core, i) => {
        const pointer = core.allocate(PAGE_BYTES);
        core.bytes().fill(i + 1, pointer, pointer + PAGE_BYTES);
        return pointer;
      });
      for (const [i, core] of cores.entries()) {
        const page = core.bytes().subarray(pointers[i], pointers[i]! + PAGE_BYTES);
        must(
          page.every((byte) => byte === i + 1),
          `core ${i} has what was written to it`,
        );
      }
    },
  },
  {
    name: "a core loads from a compiled module and from bytes, and refuses what is not one",
    run: async (api) => {
      const module = await api.compileCore();
      const expected = (await api.loadArrayCore()).blake3(noise(9, 9));
      mustHaveBytes((await api.loadCore({ wasm: module })).blake3(noise(9, 9)), expected, "by the module");
      const bytes = api.coreWasmBytes();
      mustHaveBytes((await api.loadCore({ wasm: bytes })).blake3(noise(9, 9)), expected, "by the bytes");
      mustHaveBytes((await api.loadArrayCore({ wasm: module })).blake3(noise(9, 9)), expected, "arrays");
      const empty = Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0);
      await api.loadCore({ wasm: empty }).then(
        () => must(false, "an empty module is refused"),
        (error) => mustEqual(error.name, "TypeError", "an empty module"),
      );
    },
  },
  {
    name: "a core loads while its module arrives from a server, and says what the server refuses",
    run: async (api) => {
      const expected = (await api.loadArrayCore()).blake3(noise(9, 9));
      const headers = { "content-type": "application/wasm" };
      const answer = Promise.resolve(new Response(api.coreWasmBytes(), { headers }));
      const core = await api.loadCore({ wasm: answer });
      mustHaveBytes(core.blake3(noise(9, 9)), expected, "digest");
      await api.loadCore({ wasm: new Response("no", { status: 404 }) }).then(
        () => must(false, "a refusal is an error"),
        (error) => must(/answered 404/.test(error.message), `it names the status: ${error.message}`),
      );
    },
  },
  {
    name: "memory that was released is used again",
    run: async (api) => {
      const core = await api.loadCore();
      const round = () => useEverything(api, core);
      for (let i = 0; i < 3; i++) round();
      const before = core.bytes().length;
      for (let i = 0; i < 200; i++) round();
      mustEqual(core.bytes().length, before, "bytes of memory after 200 rounds");
    },
  },
  {
    name: "array functions keep nothing, also when they throw",
    run: async (api) => {
      const core = await api.loadArrayCore();
      const large = noise(1 << 20, 4, 5);
      for (let i = 0; i < 20; i++) {
        mustThrow(() => core.decompress(large, 1 << 24), "FormatError", "noise is not a block");
        mustHaveBytes(core.blake3(large).subarray(0, 0), new Uint8Array(0), "nothing");
      }
      const block = core.compress(large);
      mustHaveBytes(core.decompress(block, large.length), large, "still right");
    },
  },
];

function useEverything(api: Api, core: Awaited<ReturnType<Api["loadCore"]>>): void {
  const window = api.openWindow(core, 1 << 20);
  const encoder = new api.PageEncoder(core);
  const hasher = core.createHasher();
  core.lz4Compress(noise(50_000, 1, 3));
  hasher.update(noise(1000, 1)).digest();
  hasher.release();
  encoder.release();
  window.release();
}

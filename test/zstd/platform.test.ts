/** The zstd that legs use: Node's own and the one in WASM give frames in the form that readers accept. */

import * as zlib from "node:zlib";
import t from "tap";
import { loadZstd, nativeZstd, wasmZstd } from "../../cli/zstd.ts";
import { loadCore } from "../../src/core.ts";
import { FormatError } from "../../src/errors.ts";
import { decompressWith, decompressZstd } from "../../src/zstd/decompress.ts";
import { noise } from "../core/placing.ts";
import { newestNode } from "../embedding/runtimes.ts";

const contents = [new Uint8Array(1), noise(300, 1, 4), noise(262_144, 2, 5), noise(280_000, 3)];

t.test("the one in WASM", async (t) => {
  const zstd = await wasmZstd();
  for (const content of contents) {
    for (const level of [1, 3, 6, 9, 12]) {
      const frame = zstd.compress(content, level);
      t.ok(Buffer.from(decompressZstd(frame, content.length)).equals(content), `level ${level}`);
      t.ok(Buffer.from(zstd.decompress(frame, content.length)).equals(content));
    }
  }
});

t.test("Node's own, where it has one: in the newest Node", async (t) => {
  const script = `
    import * as zlib from "node:zlib";
    import { nativeZstd } from "${new URL("../../cli/zstd.js", import.meta.url)}";
    import { decompressWith, decompressZstd } from "${new URL("../../src/zstd/decompress.js", import.meta.url)}";
    const zstd = await nativeZstd(zlib);
    for (const length of [1, 300, 262144, 280000]) {
      const content = new Uint8Array(length).map((_, i) => (i * i) >> 5);
      for (const level of [1, 3, 6, 9, 12]) {
        const frame = zstd.compress(content, level);
        for (const back of [decompressZstd(frame, length), zstd.decompress(frame, length)]) {
          if (!Buffer.from(back).equals(content)) throw new Error(length + " bytes at level " + level);
        }
      }
    }
    const bomb = zstd.compress(new Uint8Array(1 << 20), 1);
    try { zstd.decompress(bomb, 1000); console.log("too long"); } catch { console.log("good"); }`;
  t.equal(newestNode.run(process.cwd(), "--input-type=module", "--eval", script).trim(), "good");
});

t.test("Node's own is used if it is there", async (t) => {
  t.equal(nativeZstd({}), null);
  const made = nativeZstd({
    constants: { ZSTD_c_compressionLevel: 100 },
    zstdCompressSync: (_plain: Uint8Array, options: object) => options,
    zstdDecompressSync: (_frame: Uint8Array, options: object) => options,
  });
  const zstd = await made;
  t.strictSame(zstd?.compress(new Uint8Array(1), 6), { params: { 100: 6 } });
  t.strictSame(zstd?.decompress(new Uint8Array(1), 77), { maxOutputLength: 77 });
  t.equal(await loadZstd(), await loadZstd(), "a process loads one");
  t.equal(nativeZstd(zlib) === null, !("zstdCompressSync" in zlib));
});

t.test("a frame is checked before another zstd sees it, and what that says after", async (t) => {
  const zstd = await wasmZstd();
  const frame = zstd.compress(contents[1], 3);
  t.strictSame(Buffer.from(decompressWith(zstd, frame, 300)), Buffer.from(contents[1]));
  t.strictSame(Buffer.from(decompressWith(null, frame, 300)), Buffer.from(contents[1]));
  let asked = 0;
  const wrong = {
    compress: zstd.compress,
    decompress: () => {
      asked++;
      if (asked === 1) throw new RangeError("broken");
      return new Uint8Array(299);
    },
  };
  t.throws(() => decompressWith(wrong, frame, 299), { code: "bad-length" });
  t.throws(() => decompressWith(wrong, frame.subarray(0, 20), 300), FormatError);
  t.equal(asked, 0);
  t.throws(() => decompressWith(wrong, frame, 300), { code: "bad-value", message: /broken/ });
  t.throws(() => decompressWith(wrong, frame, 300), { code: "bad-length" });
  t.equal((await loadCore()).zstd, null);
});

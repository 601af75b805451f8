/** The second reader of the formats, `test/vectors/verify.py`, agrees with the store's writer and finds damage. */

import { spawnSync } from "node:child_process";
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import type { GenerationWriter } from "../../cli/store/generation-writer.ts";
import { wasmZstd } from "../../cli/zstd.ts";
import { decodeFrameHeader } from "../../src/delta/frame.ts";
import type { FrameSequence } from "../../src/delta/frame-sequence.ts";
import { PageDecoder } from "../../src/delta/page-decoder.ts";
import { PageEncoder } from "../../src/delta/page-encoder.ts";
import { FrameCodec, recordKindNames } from "../../src/delta/vocabulary.ts";
import { noisePage, textPage, withWords } from "../delta/pages-twin.ts";
import { ModelStore, page } from "../store/model-store.ts";

const zstd = await wasmZstd();
const regions = [
  { name: "pc.ram", kind: "ram", lengthBytes: 70 * page },
  { name: "vga.vram", kind: "ram", lengthBytes: 5 * page },
] as const;

/** Three generations; the second delta has a record of every kind. */
async function makeStore(folder: string): Promise<ModelStore> {
  const model = await ModelStore.create(folder, "web1", regions);
  const memory = new Uint8Array(model.memoryBytes);
  const put = (number: number, content: Uint8Array) => memory.set(content, number * page);
  for (const number of [1, 2, 3, 72]) put(number, noisePage(number));
  for (const number of [4, 5, 6, 7]) put(number, textPage(number));
  const first = await model.add(memory, null, "first");
  put(1, withWords(noisePage(1), 5, 0));
  put(69, noisePage(9));
  const second = await model.add(memory, first, "second");
  put(2, new Uint8Array(page));
  put(8, noisePage(3));
  put(4, withWords(textPage(4), 2, 3));
  put(72, withWords(noisePage(72), 200, 4));
  put(5, noisePage(20));
  put(10, textPage(50));
  put(11, withWords(noisePage(20), 3, 1));
  await model.add(memory, second, "third ".repeat(100), (writer, sequence) =>
    sendBack(model, writer, sequence),
  );
  return model;
}

/** Sends two pages as changed, in a frame for zstd, then as the base's again. There are no disks. */
async function sendBack(model: ModelStore, writer: GenerationWriter, sequence: FrameSequence) {
  const { core, geometry } = model;
  const encoder = new PageEncoder(core, () => (plain) => zstd.compress(plain, 3));
  const changed = core.allocate(page);
  core.bytes().set(noisePage(30), changed);
  encoder.content(6, changed, 0);
  encoder.content(7, changed, 0);
  const first = encoder.seal(0, sequence.take()) as Uint8Array;
  encoder.same(6);
  encoder.same(7);
  const second = encoder.seal(0, sequence.take()) as Uint8Array;
  const base = {
    readBasePage: (number: number, target: number) => void core.bytes().set(textPage(number), target),
  };
  const decoder = new PageDecoder(core, geometry.regions, base);
  if (decodeFrameHeader(first).codec !== FrameCodec.zstd) throw new Error("the frame is not in zstd");
  for (const frame of [first, second]) writer.apply(decoder.decode(frame), frame);
  return [];
}

function verify(model: ModelStore): { status: number | null; lines: string[] } {
  const paths = [`${model.storePath}.keys/${model.vm}.key`, model.store.generationsPath];
  const run = spawnSync("python3", ["test/vectors/verify.py", ...paths], { encoding: "utf8" });
  if (run.error !== undefined) {
    throw new Error("Install python3: this test runs a program in Python", { cause: run.error });
  }
  return { status: run.status, lines: `${run.stdout}${run.stderr}`.trimEnd().split("\n") };
}

const agreed = ["generation 1: OK", "generation 2: OK", "generation 3: OK"];

t.test("it agrees with what the store's writer made, and finds a flipped bit in every file", async (t) => {
  const model = await makeStore(t.testdir());
  const { generations } = await model.store.list();
  const counts = generations.map(({ manifest }) => manifest.records);
  for (const kind of recordKindNames) {
    t.ok(
      counts.slice(1).some((records) => records[kind] > 0),
      `there are records of kind ${kind}`,
    );
  }
  t.strictSame(verify(model), { status: 0, lines: agreed });
  const places = [
    [1, "manifest.json"],
    [1, "digests"],
    [1, "device"],
    [1, "ram.img"],
    [3, "manifest.json"],
    [3, "digests"],
    [3, "device"],
    [3, "delta"],
    [3, "ram.img"],
  ] as const;
  for (const [generation, name] of places) {
    const path = join(model.store.generationsPath, String(generation), name);
    const bytes = readFileSync(path);
    const damaged = Buffer.from(bytes);
    // In overlays, too, this is a page that has a record.
    damaged[name === "ram.img" ? 4 * page + 77 : bytes.length >> 1] ^= 0x10;
    writeFileSync(path, damaged);
    const { status, lines } = verify(model);
    t.equal(status, 1, `${name} of generation ${generation}`);
    t.notMatch(lines[generation - 1], "OK");
    t.match(lines[generation - 1], name);
    t.strictSame(lines.slice(0, generation - 1), agreed.slice(0, generation - 1), "those before are right");
    writeFileSync(path, bytes);
  }
});

t.test("a wrong key, a missing base, and swapped files of two generations are found", async (t) => {
  const model = await makeStore(t.testdir());
  const folder = model.store.generationsPath;
  const keyPath = `${model.storePath}.keys/${model.vm}.key`;
  const key = readFileSync(keyPath, "utf8");
  writeFileSync(keyPath, key.replace(/^../, "ff"));
  t.equal(verify(model).status, 1, "another key");
  writeFileSync(keyPath, key);
  for (const name of ["delta", "device", "digests", "ram.img", "manifest.json"]) {
    const [second, third] = ["2", "3"].map((generation) => join(folder, generation, name));
    const [a, b] = [readFileSync(second), readFileSync(third)];
    writeFileSync(second, b);
    writeFileSync(third, a);
    t.match(
      verify(model),
      { status: 1, lines: [agreed[0], /generation 2: (?!OK)/, /generation 3: (?!OK)/] },
      name,
    );
    writeFileSync(second, a);
    writeFileSync(third, b);
  }
  renameSync(join(folder, "2"), join(folder, "two"));
  t.match(verify(model), {
    status: 1,
    lines: [agreed[0], /generation 3: manifest.json: its base is missing/],
  });
});

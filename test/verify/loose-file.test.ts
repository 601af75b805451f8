import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { verifyPaths } from "../../cli/verify/verify.ts";
import { loadCore } from "../../src/core.ts";
import { framesOf, sealFrame } from "../../src/delta/frame.ts";
import { encodeDeltaHeader, encodeDeltaTrailer } from "../../src/delta/header-frame.ts";
import { FrameKind, noRecords } from "../../src/delta/vocabulary.ts";
import { ModelStore } from "../store/model-store.ts";

const core = await loadCore();

t.test("every flipped bit of a loose delta is found", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const [, second] = await model.addChain(1);
  const path = join(second.directory, "delta");
  const bytes = readFileSync(path);
  const missed: number[] = [];
  for (let at = 0; at < bytes.length; at += 7) {
    const damaged = Buffer.from(bytes);
    damaged[at] ^= 1 << (at & 7);
    writeFileSync(path, damaged);
    if ((await verifyPaths([path])).findings.length !== 1) missed.push(at);
  }
  t.strictSame(missed, []);
});

t.test("frames that are whole one by one but do not make a delta are found", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const [, second] = await model.addChain(1);
  const path = join(second.directory, "delta");
  const frames = [...framesOf(readFileSync(path))].map(({ frame }) => Buffer.from(frame));
  const base = { generation: 1, root: "00".repeat(32) };
  const header = (totalPages: number) =>
    encodeDeltaHeader(core, { vm: "x", generation: 2, base, totalPages }, 1);
  const dirty = (bytes: number) => new Uint8Array(bytes);
  const trailer = (frames: number, bytes: number, raw = 0) =>
    encodeDeltaTrailer(core, { frames, records: { ...noRecords(), raw }, dirty: dirty(bytes) }, 2);
  const digests = sealFrame(core, { kind: FrameKind.digests, region: 0, sequence: 2, records: 0 }, dirty(3));
  const cases: [what: string, parts: Uint8Array[], problem: RegExp][] = [
    ["no trailer", frames.slice(0, -1), /ends before its trailer/],
    ["no header", frames.slice(1), /1 is next/],
    ["a frame is missing", [frames[0], ...frames.slice(2)], /2 is next/],
    ["a frame stands twice", [frames[0], frames[1], frames[1]], /3 is next/],
    ["the trailer stands twice", [header(8), trailer(2, 1), trailer(2, 1)], /3 is next/],
    ["the trailer counts other frames", [header(8), trailer(3, 1)], /counts 3 frames/],
    ["the trailer counts other records", [header(8), trailer(2, 1, 1)], /records of kind raw/],
    ["the bitmap has another length", [header(8), trailer(2, 2)], /another length/],
    ["a frame of another kind", [header(8), digests], /not a pages frame/],
    ["no pages", [header(0)], /0 pages/],
    ["too many pages", [header(2 ** 40)], /pages/],
    ["bytes after the end", [header(8), trailer(2, 1), Uint8Array.of(1)], /frame header/],
    ["nothing", [], /empty/],
  ];
  for (const [what, parts, problem] of cases) {
    writeFileSync(path, Buffer.concat(parts));
    const { findings } = await verifyPaths([path]);
    t.match(findings, [{ path, problem }], what);
    t.equal(findings.length, 1);
  }
  writeFileSync(path, Buffer.concat([header(8), trailer(2, 1)]));
  t.strictSame((await verifyPaths([path])).findings, [], "what they are variations of is accepted");
});

t.test("a loose manifest that is not canonical is found", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const [first] = await model.addChain(0);
  const path = join(first.directory, "manifest.json");
  writeFileSync(path, readFileSync(path, "utf8").replace('"epoch":1', '"epoch":2'));
  t.match((await verifyPaths([path])).findings, [{ path, problem: /digest or its form/ }]);
});

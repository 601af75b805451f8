/** Files that somebody made to deceive the verifier, or to exhaust it, and files that stand in for one another. */

import t from "tap";
import { concatBytes, toHex } from "../../src/bytes.ts";
import { type Core, loadCore } from "../../src/core.ts";
import { decodeFrameHeader, plainColumns, sealFrame } from "../../src/delta/frame.ts";
import { type DeltaHeader, decodeDeltaHeader, encodeDeltaHeader } from "../../src/delta/header-frame.ts";
import { FrameKind, frameHeaderBytes } from "../../src/delta/vocabulary.ts";
import { encodeManifest, generationFileNames, type Manifest } from "../../src/generation/manifest.ts";
import type { GenerationInput } from "../../src/verify/generation-files.ts";
import { accessBytes, type RandomAccess } from "../../src/verify/random-access.ts";
import { verifyGenerations } from "../../src/verify/verify-generations.ts";
import { page } from "../store/model-store.ts";
import { inputsOf } from "./generation-inputs.ts";
import { framesIn, resealed, withFiles, withFitted } from "./hostile-frames.ts";
import { bytesOf, makeTinyChain } from "./tiny-chain.ts";

const core = await loadCore();
const mebibyte = 2 ** 20;

/** Two compressed forms of the same columns, with the same header: LZ4 has several for what repeats. */
function saysTheSame(one: Uint8Array, other: Uint8Array): boolean {
  const parts = [one, other].map((frame) => {
    const header = decodeFrameHeader(frame);
    const { columnsBytes: _, payloadBytes: __, ...said } = header;
    const whole = frame.subarray(frameHeaderBytes + header.columnsBytes);
    return `${JSON.stringify(said)}${toHex(plainColumns(core, frame, header))}${toHex(whole)}`;
  });
  return parts[0] === parts[1];
}

async function setUp(folder: string, vm = "web1", seed = 1) {
  const { model, chain } = await makeTinyChain(folder, vm, seed);
  const [first, second] = await inputsOf(chain);
  const manifest = chain[1].manifest;
  const verify = async (inputs: readonly GenerationInput[], own: Core = core) =>
    await verifyGenerations(own, inputs, { key: model.key });
  const fit = (name: "delta" | "device", parts: readonly Uint8Array[], more?: Partial<Manifest>) =>
    withFitted(core, second, manifest, name, new Uint8Array(concatBytes(parts)), more);
  return { first, second, manifest, verify, fit, delta: await bytesOf(second, "delta") };
}

t.test("each file in the place of another generation's, or another VM's under the same key", async (t) => {
  const folder = t.testdir({ one: {}, other: {} });
  const one = await setUp(`${folder}/one`);
  const other = await setUp(`${folder}/other`, "web2", 7);
  const { first, second, verify } = one;
  const take = (from: GenerationInput, name: string) => ({ [name]: from.files.get(name) as RandomAccess });
  for (const name of ["ram.img", "digests", "device"]) {
    for (const [from, to] of [
      [first, second],
      [second, first],
      [other.first, first],
      [other.second, second],
    ]) {
      const changed = withFiles(to, take(from, name));
      const report = await verify(to === first ? [changed, second] : [first, changed]);
      const verdict = report.generations[to === first ? 0 : 1];
      const what = `${name} of ${to.name}`;
      t.ok(
        report.findings.some(({ path }) => path === `${to.name}/${name}`),
        what,
      );
      t.equal(verdict.intact, false, what);
      t.equal(verdict.restorable, name === "digests", what);
    }
  }
  const delta = await verify([first, withFiles(second, take(other.second, "delta"))]);
  t.ok(delta.findings.some(({ path }) => path === "2/delta"));
  const manifests = await verify([first, withFiles(second, take(first, "manifest.json"))]);
  t.match(manifests.findings, [{ path: "2/manifest.json", problem: /of generation 1, as that of 1 is/ }]);
  const foreign = await verify([first, withFiles(second, take(other.second, "manifest.json"))]);
  t.match(foreign.findings, [{ path: "2/manifest.json", problem: /of generation 2 of web2, not of web1/ }]);
  const all = await verify([first, other.second]);
  t.match(all.findings, [{ path: "2/manifest.json", problem: /of web2/ }]);
});

t.test("a delta of another VM, or on another base, that the manifest names is not accepted", async (t) => {
  const folder = t.testdir({ one: {}, other: {} });
  const { first, fit, verify, delta } = await setUp(`${folder}/one`);
  const other = await setUp(`${folder}/other`, "web2", 7);
  const [header, ...rest] = framesIn(delta);
  const said = decodeDeltaHeader(core, header);
  const saying = (other: Partial<DeltaHeader>) => [
    encodeDeltaHeader(core, { ...said, ...other }, 1),
    ...rest,
  ];
  const { base } = said;
  const cases: [parts: readonly Uint8Array[], problem: RegExp][] = [
    [[other.delta], /of VM "web2"/],
    [saying({ vm: "web3" }), /of VM "web3"/],
    [saying({ generation: 3 }), /of generation 3/],
    [saying({ base: { ...base, generation: 0 } }), /stands on generation 0/],
    [saying({ base: { ...base, root: "00".repeat(32) } }), /another root/],
    [saying({ totalPages: 9 }), /for 9 pages, the manifest has 8/],
    [saying({ totalPages: Number.MAX_SAFE_INTEGER }), /for 9007199254740991 pages/],
  ];
  for (const [parts, problem] of cases) {
    const { findings, generations } = await verify([first, fit("delta", parts)]);
    t.ok(
      findings.some((one) => one.path === "2/delta" && one.offset === 0 && problem.test(one.problem)),
      `${problem}: ${JSON.stringify(findings[0])}`,
    );
    t.equal(generations[1].intact, false);
  }
});

t.test("a delta or device state that was cut anywhere, with a manifest that fits, is found", async (t) => {
  const { first, second, fit, verify, delta } = await setUp(t.testdir());
  const device = await bytesOf(second, "device");
  for (const [name, whole, step] of [
    ["delta", delta, 3],
    ["device", device, 1],
  ] as const) {
    const missed: number[] = [];
    for (let length = 0; length < whole.length; length += step) {
      const { findings } = await verify([first, fit(name, [whole.subarray(0, length)])]);
      if (!findings.some(({ path }) => path === `2/${name}`)) missed.push(length);
    }
    t.strictSame(missed, [], name);
  }
  t.strictSame((await verify([first, fit("delta", [delta])])).findings, [], "uncut it is accepted");
});

t.test("a bit of a delta's content that was flipped, with all checksums made to fit, is found", async (t) => {
  const { first, fit, verify, delta } = await setUp(t.testdir());
  const frames = framesIn(delta);
  const missed: string[] = [];
  for (const [number, frame] of frames.entries()) {
    for (let at = 0; at < frame.length; at++) {
      if (at >= 32 && at < frameHeaderBytes) continue;
      // The bits of a header each; of longer contents one of each byte, or of every fifth.
      if (at > 1000 && at % 5 !== 0) continue;
      for (const bit of at < 32 ? [0, 1, 2, 3, 4, 5, 6, 7] : [at & 7]) {
        const lying = resealed(core, frame, (bytes) => {
          bytes[at] ^= 1 << bit;
        });
        const { findings } = await verify([first, fit("delta", frames.with(number, lying))]);
        if (findings.length === 0 && !saysTheSame(frame, lying))
          missed.push(`frame ${number + 1}, byte ${at}, bit ${bit}`);
      }
    }
  }
  t.strictSame(missed, []);
});

t.test("frames that claim more than there can be are refused before memory is taken", async (t) => {
  const { first, manifest, fit, verify, delta } = await setUp(t.testdir());
  const [header, pages, ...rest] = framesIn(delta);
  const field = (offset: number, value: number) => (bytes: Uint8Array) =>
    new DataView(bytes.buffer).setUint32(offset, value, true);
  const zeroes = new Uint8Array(32 * mebibyte);
  const seal = (kind: FrameKind, bytes: number, records = 0, sequence = 2) =>
    sealFrame(core, { kind, region: 0, sequence, records }, zeroes.subarray(0, bytes));
  const manyPages = new Uint8Array(16 + 1024 * 5).fill(2, 16, 16 + 1024);
  const bombs: [what: string, frame: Uint8Array, problem: RegExp][] = [
    ["plain columns", resealed(core, pages, field(20, mebibyte + 1)), /columns of 1048577 bytes exceed/],
    ["plain columns of 4 GiB", resealed(core, pages, field(20, 2 ** 32 - 1)), /columns of 4294967295/],
    ["a payload of 4 GiB", resealed(core, pages, field(12, 2 ** 32 - 1)), /payload of 4294967295/],
    ["records", resealed(core, pages, field(24, 1025)), /1025 records exceed/],
    ["4 GiB of records", resealed(core, pages, field(24, 2 ** 32 - 1)), /records exceed/],
    ["whole pages", resealed(core, pages, field(16, 0)), /do(es)? not|lz4|stored|needed|left/i],
    ["columns longer than plain", resealed(core, pages, field(16, 2 ** 31)), /longer|fit/],
    ["1 MiB of zeroes as columns", seal(FrameKind.pages, mebibyte), /left over in its columns/],
    ["1 MiB of zeroes as records", seal(FrameKind.pages, mebibyte, 1024), /is for page 5, its region has 5/],
    ["1 MiB and one byte", seal(FrameKind.pages, mebibyte + 1), /columns of 1048577 bytes exceed/],
    ["32 MiB of zeroes as another frame", seal(FrameKind.digests, 32 * mebibyte), /not a pages frame/],
    [
      "1024 records for a region of 5 pages",
      sealFrame(core, { kind: FrameKind.pages, region: 0, sequence: 2, records: 1024 }, manyPages),
      /is for page 5, its region has 5/,
    ],
    ["a trailer of 32 MiB", seal(FrameKind.trailer, 32 * mebibyte), /not JSON|not its trailer/],
  ];
  for (const [what, frame, problem] of bombs) {
    const own = await loadCore();
    const before = own.bytes().length;
    const { findings } = await verify([first, fit("delta", [header, frame, ...rest])], own);
    const found = findings.find((one) => one.path === "2/delta" && problem.test(one.problem));
    t.ok(found, `${what}: ${JSON.stringify(findings)}`);
    t.equal(found?.offset, header.length, what);
    const isColumnsOnly = !/32 MiB/.test(what);
    if (isColumnsOnly) t.ok(own.bytes().length - before < 24 * mebibyte, `${what}: memory stays small`);
  }
  const state = sealFrame(
    core,
    { kind: FrameKind.device, region: 0, sequence: 2, records: 0 },
    zeroes.subarray(0, 262145),
  );
  const { findings } = await verify([first, fit("device", [state], { deviceBytes: 262145 })]);
  t.match(findings[0], { path: "2/device", offset: 0, problem: /Cannot use frame 2 as device state/ });
  t.equal(manifest.generation, 2);
});

t.test("lengths near 2^53 are refused by what is said of them: nothing is read for them", async (t) => {
  const { first, second, manifest, verify } = await setUp(t.testdir());
  const most = Number.MAX_SAFE_INTEGER;
  let readBytes = 0;
  const endless: RandomAccess = {
    sizeBytes: most,
    read: (target) => {
      readBytes += target.length;
      return target.fill(0).length;
    },
  };
  for (const name of generationFileNames) {
    const files = { ...manifest.files, [name]: { ...manifest.files[name], bytes: most } };
    const lying = accessBytes(encodeManifest(core, { ...manifest, files }));
    for (const parts of [{ [name]: endless }, { [name]: endless, "manifest.json": lying }]) {
      readBytes = 0;
      const { findings, generations } = await verify([first, withFiles(second, parts)]);
      t.ok(
        findings.some(({ path }) => path === `2/${name}`),
        `${name}: ${JSON.stringify(findings)}`,
      );
      t.equal(generations[1].intact, false, name);
      t.ok(readBytes <= 2 * mebibyte, `${name}: ${readBytes} bytes were read`);
    }
  }
  const { findings } = await verify([first, withFiles(second, { "manifest.json": endless })]);
  t.match(findings, [{ path: "2/manifest.json", problem: /9007199254740991 bytes, too many/ }]);
  const lies: Partial<Manifest>[] = [
    { regions: [{ name: "pc.ram", kind: "ram", lengthBytes: most - (most % page) }] },
    { regions: [{ name: "pc.ram", kind: "ram", lengthBytes: 2 ** 53 }] },
    { deviceBytes: most },
    { deviceBytes: 2 ** 53 },
    { generation: 2 ** 53 },
    { base: { generation: -1, root: manifest.base?.root ?? "" } },
    { files: { ...manifest.files, delta: { bytes: 1e300, digest: manifest.root } } },
  ];
  for (const lie of lies) {
    const lying = accessBytes(encodeManifest(core, { ...manifest, ...lie }));
    const report = await verify([first, withFiles(second, { "manifest.json": lying })]);
    t.ok(report.findings.length > 0, JSON.stringify(lie));
    t.not(report.generations[1].intact, true, JSON.stringify(lie));
  }
});

/** Flips every bit of every file of a small chain, and cuts its files at every length. Nothing may pass unseen. */

import t, { type Test } from "tap";
import { loadCore } from "../../src/core.ts";
import { framesOf } from "../../src/delta/frame.ts";
import { frameHeaderBytes } from "../../src/delta/vocabulary.ts";
import type { GenerationInput } from "../../src/verify/generation-files.ts";
import { accessBytes } from "../../src/verify/random-access.ts";
import { type GenerationsReport, verifyGenerations } from "../../src/verify/verify-generations.ts";
import { page } from "../store/model-store.ts";
import { inputsOf } from "./generation-inputs.ts";
import { bytesOf, makeTinyChain, type TinyChain } from "./tiny-chain.ts";

const core = await loadCore();

/** Verifies a chain again and again with one file changed. */
class Changed {
  readonly bytes: Uint8Array<ArrayBuffer>;
  private readonly inputs: GenerationInput[];
  private readonly key: Uint8Array;

  private constructor(inputs: GenerationInput[], key: Uint8Array, bytes: Uint8Array<ArrayBuffer>) {
    this.inputs = inputs;
    this.key = key;
    this.bytes = bytes;
  }

  /** The last of the inputs has the file. The bytes may be changed between verifications, in place. */
  static async of({ model, chain }: TinyChain, numbers: readonly number[], name: string): Promise<Changed> {
    const inputs = await inputsOf(chain.filter(({ manifest }) => numbers.includes(manifest.generation)));
    const last = inputs[inputs.length - 1];
    const bytes = await bytesOf(last, name);
    const files = new Map([...last.files, [name, accessBytes(bytes)]]);
    return new Changed([...inputs.slice(0, -1), { ...last, files }], model.key, bytes);
  }

  async verify(): Promise<GenerationsReport> {
    return await verifyGenerations(core, this.inputs, { key: this.key });
  }

  /** With only the first bytes of the file. */
  async verifyCut(name: string, length: number): Promise<GenerationsReport> {
    const last = this.inputs[this.inputs.length - 1];
    const files = new Map([...last.files, [name, accessBytes(this.bytes.subarray(0, length))]]);
    return await verifyGenerations(core, [...this.inputs.slice(0, -1), { ...last, files }], {
      key: this.key,
    });
  }
}

/** Flips bits one by one and names those that are not found as `isFound` wants it. */
async function flipEach(
  t: Test,
  what: string,
  changed: Changed,
  bits: Iterable<number>,
  isFound: (report: GenerationsReport, at: number) => boolean,
): Promise<void> {
  const missed: string[] = [];
  let flips = 0;
  for (const bit of bits) {
    const [at, mask] = [bit >> 3, 1 << (bit & 7)];
    changed.bytes[at] ^= mask;
    const report = await changed.verify();
    const isIntact = report.generations.at(-1)?.intact !== false;
    if (isIntact || !isFound(report, at)) missed.push(`bit ${bit & 7} of byte ${at}`);
    changed.bytes[at] ^= mask;
    flips++;
  }
  t.ok(flips > 0, what);
  t.strictSame(missed.slice(0, 10), [], `${what}: ${missed.length} of ${flips} missed`);
  t.strictSame(
    (await changed.verify()).findings.filter(({ problem }) => !/its base/.test(problem)),
    [],
  );
}

function* allBits(bytes: number): Generator<number> {
  for (let bit = 0; bit < bytes * 8; bit++) yield bit;
}

t.test("every bit of a manifest", async (t) => {
  const tiny = await makeTinyChain(t.testdir());
  for (const number of [1, 2]) {
    const changed = await Changed.of(tiny, [number], "manifest.json");
    await flipEach(
      t,
      `generation ${number}`,
      changed,
      allBits(changed.bytes.length),
      ({ findings: [first], generations: [verdict] }) =>
        first?.path === `${number}/manifest.json` && verdict.generation === null && !verdict.restorable,
    );
  }
});

t.test("every bit of the digests: the page is named, and contents stay restorable", async (t) => {
  const tiny = await makeTinyChain(t.testdir());
  for (const numbers of [[1], [1, 2]]) {
    const changed = await Changed.of(tiny, numbers, "digests");
    const path = `${numbers.at(-1)}/digests`;
    await flipEach(
      t,
      path,
      changed,
      allBits(changed.bytes.length),
      ({ findings, generations }, at) =>
        findings.some(
          ({ path: found, page, region, offset }) =>
            found === path &&
            offset === at - (at % 16) &&
            page === (offset / 16) % 5 &&
            region === (offset < 80 ? "pc.ram" : "vga.vram"),
        ) && generations.at(-1)?.restorable === true,
    );
  }
});

t.test("every bit of the device state: its frame is named", async (t) => {
  const tiny = await makeTinyChain(t.testdir());
  for (const numbers of [[1], [1, 2]]) {
    const changed = await Changed.of(tiny, numbers, "device");
    const path = `${numbers.at(-1)}/device`;
    await flipEach(
      t,
      path,
      changed,
      allBits(changed.bytes.length),
      ({ findings, generations }) =>
        findings.some((finding) => finding.path === path && finding.offset === 0) &&
        generations.at(-1)?.restorable === false,
    );
  }
});

t.test("every bit of a delta: its frame is named", async (t) => {
  const tiny = await makeTinyChain(t.testdir());
  const changed = await Changed.of(tiny, [1, 2], "delta");
  const frames = [...framesOf(changed.bytes)].map(({ at, header, frame }) => {
    const whole = at + frameHeaderBytes + header.columnsBytes;
    return { at, whole, end: at + frame.length };
  });
  // Of pages that stand there as they are, a bit of every third byte is enough: there are only checksums above them.
  const bits = frames.flatMap(({ at, whole, end }) => [
    ...Array.from({ length: (whole - at) * 8 }, (_, i) => at * 8 + i),
    ...Array.from({ length: Math.floor((end - whole) / 3) }, (_, i) => (whole + 3 * i) * 8 + (i & 7)),
  ]);
  await flipEach(t, "2/delta", changed, bits, ({ findings }, at) => {
    const frame = frames.find(({ end }) => at < end);
    return findings.some(({ path, offset }) => path === "2/delta" && offset === frame?.at);
  });
});

t.test("every byte of every page of an image, and every bit that a page has", async (t) => {
  const tiny = await makeTinyChain(t.testdir());
  for (const numbers of [[1], [1, 2]]) {
    const changed = await Changed.of(tiny, numbers, "ram.img");
    const dirty = (await changed.verify()).generations.at(-1)?.dirty?.[0] ?? 0xff;
    const missed: number[] = [];
    // All pages at once: each is judged by itself. The eight pages have another bit each.
    const flip = (at: number) => {
      for (let i = 0; i < 8; i++) changed.bytes[i * page + at] ^= 1 << ((at + i) & 7);
    };
    for (let at = 0; at < page; at += numbers.length === 1 ? 1 : 5) {
      flip(at);
      const { findings, generations } = await changed.verify();
      const { wrong, restorable } = generations[generations.length - 1];
      const named = new Set(
        findings.flatMap(({ path, region, page = 0, offset, problem }) => {
          const first = page + (region === "vga.vram" ? 5 : 0);
          const isHere = path === `${numbers.at(-1)}/ram.img` && offset === first * 4096;
          const last = Number(/\(pages \d+ to (\d+)\)/.exec(problem)?.[1] ?? page);
          return isHere ? Array.from({ length: last - page + 1 }, (_, i) => first + i) : [];
        }),
      );
      if (named.size !== 8 || wrong?.[0] !== dirty || restorable) missed.push(at);
      flip(at);
    }
    t.strictSame(missed, [], `generation ${numbers.at(-1)}`);
    t.strictSame((await changed.verify()).findings, []);
  }
});

t.test("every length that is too short, of the longer files many of them", async (t) => {
  const tiny = await makeTinyChain(t.testdir());
  for (const name of ["manifest.json", "digests", "device", "delta", "ram.img"]) {
    const changed = await Changed.of(tiny, [1, 2], name);
    const missed: number[] = [];
    const step = name === "ram.img" ? 509 : name === "delta" ? 5 : 1;
    for (let length = 0; length < changed.bytes.length; length += step) {
      const { findings, generations } = await changed.verifyCut(name, length);
      const isFound = findings.some(({ path }) => path === `2/${name}`) && !generations[1].intact;
      if (!isFound) missed.push(length);
    }
    t.strictSame(missed, [], name);
  }
});

t.test("the small chain is worth it: its delta has records of all kinds that are written", async (t) => {
  const { chain } = await makeTinyChain(t.testdir());
  const { same: _, ...written } = chain[1].manifest.records;
  t.ok(
    Object.values(written).every((count) => count > 0),
    JSON.stringify(written),
  );
});

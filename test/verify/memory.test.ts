/** The verifier holds windows of a generation's files, not as much as the VM is large. */

import t from "tap";
import { loadCore } from "../../src/core.ts";
import { digestBytes } from "../../src/generation/digest-tree.ts";
import { DigestMemory, digestWindowPages } from "../../src/verify/digest-windows.ts";
import type { GenerationInput } from "../../src/verify/generation-files.ts";
import type { RandomAccess } from "../../src/verify/random-access.ts";
import { verifyGenerations } from "../../src/verify/verify-generations.ts";
import { ModelStore, page } from "../store/model-store.ts";
import { flipped, inputsOf } from "./generation-inputs.ts";

const core = await loadCore();
const windowBytes = digestWindowPages * digestBytes;
/** Two regions, so that a window has pages of both; the last window is not full. */
const regions = [
  { name: "pc.ram", kind: "ram", lengthBytes: (2 * digestWindowPages + 100) * page },
  { name: "vga.vram", kind: "ram", lengthBytes: (digestWindowPages + 7) * page },
] as const;
const totalPages = 3 * digestWindowPages + 107;

async function makeChain(folder: string) {
  const model = await ModelStore.create(folder, "web1", regions);
  const memory = new Uint8Array(totalPages * page);
  for (let number = 0; number < totalPages; number += 97) memory[number * page] = 1 + (number % 255);
  const first = await model.add(memory);
  for (let number = 0; number < totalPages; number += 501) memory[number * page + 9] ^= 0x41;
  return { key: model.key, chain: [first, await model.add(memory, first)] };
}

/** The inputs, with the lengths of all readings of digests. */
function watched(inputs: readonly GenerationInput[]) {
  const lengths: number[] = [];
  const watch = (source: RandomAccess): RandomAccess => ({
    sizeBytes: source.sizeBytes,
    read: (target, at) => {
      lengths.push(target.length);
      return source.read(target, at);
    },
  });
  const files = inputs.map(({ name, files }) => {
    const digests = watch(files.get("digests") as RandomAccess);
    return { name, files: new Map([...files, ["digests", digests]]) };
  });
  return { files, lengths };
}

t.test("digests are read in windows, and never held at once", async (t) => {
  const { chain, key } = await makeChain(t.testdir());
  const taken = t.capture(DigestMemory.prototype, "take", DigestMemory.prototype.take);
  const good = watched(await inputsOf(chain));
  const { findings, generations } = await verifyGenerations(core, good.files, { key });
  t.strictSame(findings, []);
  t.ok(generations.every(({ restorable }) => restorable));
  t.equal(Math.max(...good.lengths), windowBytes);
  t.ok(good.lengths.length >= 6 * 4, "both files were read for the root, for the image, and for the delta");
  t.equal(taken().length, 0);
  const damaged = watched(await inputsOf(chain, undefined, flipped("2/digests", 16 * 8292)));
  const found = await verifyGenerations(core, damaged.files, { key });
  t.match(found.findings, [{ path: "2/digests", region: "vga.vram", page: 0, offset: 16 * 8292 }]);
  t.equal(found.findings.length, 1);
  t.ok(taken().length > 0, "to tell damaged digests from damaged contents takes them all");
});

t.test("pages on both sides of a window's and a region's end are looked at", async (t) => {
  const { chain, key } = await makeChain(t.testdir());
  const ends = [0, digestWindowPages - 1, digestWindowPages, 2 * digestWindowPages + 99, totalPages - 1];
  for (const number of [...ends, 2 * digestWindowPages + 100]) {
    const inputs = await inputsOf(chain.slice(0, 1), undefined, flipped("1/ram.img", number * page + 5));
    const { findings } = await verifyGenerations(core, inputs, { key });
    t.match(findings, [{ path: "1/ram.img", offset: number * page, problem: /does not have its digest/ }]);
    t.equal(findings.length, 1);
  }
});

t.test("digests that are others when they are read again are found", async (t) => {
  const { chain, key } = await makeChain(t.testdir());
  const [{ name, files }] = await inputsOf(chain.slice(0, 1));
  const digests = files.get("digests") as RandomAccess;
  let readings = 0;
  const read = async (target: Uint8Array, at: number) => {
    const got = await digests.read(target, at);
    if (++readings > 4) target[7] ^= 1;
    return got;
  };
  const changing = { sizeBytes: digests.sizeBytes, read };
  const input = { name, files: new Map([...files, ["digests", changing] as const]) };
  const { findings, generations } = await verifyGenerations(core, [input], { key });
  t.match(findings, [{ path: "1/ram.img", problem: /digests: it was changed while it was verified/ }]);
  t.equal(generations[0].restorable, false);
});

t.test(
  "in a generation that is too large to tell damaged digests from damaged contents, both are found",
  async (t) => {
    const { chain, key } = await makeChain(t.testdir());
    const options = { key, toldPages: totalPages - 1 };
    const taken = t.capture(DigestMemory.prototype, "take", DigestMemory.prototype.take);
    const note = /too much memory for damaged digests to be told from damaged contents/;
    for (const name of ["1/digests", "2/digests"]) {
      const at = 16 * 8292;
      const { findings, notes, generations } = await verifyGenerations(
        core,
        await inputsOf(chain, undefined, flipped(name, at)),
        options,
      );
      t.match(notes, [{ path: name.slice(0, 1), note }]);
      t.ok(
        findings.some(({ path, problem }) => path === name && /do not give the root/.test(problem)),
        name,
      );
      t.notOk(generations[name === "1/digests" ? 0 : 1].restorable, "nothing vouches for it");
    }
    const without = (path: string, bytes: Uint8Array<ArrayBuffer>) => (path === "1/digests" ? null : bytes);
    const missing = await verifyGenerations(core, await inputsOf(chain, undefined, without), options);
    t.ok(missing.findings.some(({ path, problem }) => path === "1/digests" && /missing/.test(problem)));
    t.ok(
      missing.findings.some(
        ({ path, problem }) => path === "1/ram.img" && /were not looked at/.test(problem),
      ),
    );
    t.notOk(missing.generations[0].restorable);
    t.equal(taken().length, 0, "digests were never held at once");
    t.strictSame((await verifyGenerations(core, await inputsOf(chain), options)).findings, []);
  },
);

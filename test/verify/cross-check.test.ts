/** The naive way of applying deltas catches a core that decodes or hashes wrongly. */

import t from "tap";
import { verifyCommand } from "../../cli/commands/verify.ts";
import { verifyPaths } from "../../cli/verify/verify.ts";
import { type Core, type Kernels, loadCore } from "../../src/core.ts";
import { verifyGenerations } from "../../src/verify/verify-generations.ts";
import { ModelStore, page } from "../store/model-store.ts";
import { runInTest } from "./command-output.ts";
import { DiskStore } from "./disk-store.ts";
import { flipped, inputsOf } from "./generation-inputs.ts";

const core = await loadCore();

/** The core with some kernels replaced. */
function sabotaged(kernels: (raw: Kernels) => Partial<Kernels>): Core {
  return { ...core, raw: { ...core.raw, ...kernels(core.raw) } };
}

t.test("nothing is found while both agree: in memory, through the command, with disks", async (t) => {
  const folder = t.testdir({ disks: {} });
  const model = await ModelStore.create(folder);
  const chain = await model.addChain(3);
  const options = { key: model.key, crossCheck: true };
  t.strictSame((await verifyGenerations(core, await inputsOf(chain), options)).findings, []);
  const { lines, code } = await runInTest(t, verifyCommand(), "--cross-check", model.storePath);
  t.equal(code, 0);
  t.equal(lines.at(-1), "4 generations verified, no findings");
  const store = await DiskStore.create(`${folder}/disks`);
  t.strictSame((await verifyPaths([store.model.storePath], { crossCheck: true })).findings, []);
});

t.test("a core that decodes wrongly is caught, each way", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const chain = await model.addChain(3);
  // Noise becomes text: the shortest record is the whole page, compressed.
  const memory = (model.memories.get(4) as Uint8Array).slice();
  for (let i = 0; i < page; i++) memory[page + i] = i >> 5;
  chain.push(await model.add(memory, chain[3]));
  t.ok((chain[4].manifest.records.lz4 ?? 0) > 0, "there is a compressed page");
  const inputs = await inputsOf(chain);
  const spoil = (pointer: number) => {
    core.bytes()[pointer + 17] ^= 1;
  };
  const cases: [what: string, problem: RegExp, kernels: (raw: Kernels) => Partial<Kernels>][] = [
    [
      "deltas of words",
      /record gives another content/,
      (raw) => ({
        deltaApply: (target, ...rest) => {
          const result = raw.deltaApply(target, ...rest);
          spoil(target);
          return result;
        },
      }),
    ],
    [
      "compressed pages",
      /record gives another content/,
      (raw) => ({
        lz4DecompressLinked: (source, bytes, window, start, length) => {
          const result = raw.lz4DecompressLinked(source, bytes, window, start, length);
          spoil(window + start);
          return result;
        },
      }),
    ],
    [
      "digests",
      /naive digest of the page/,
      (raw) => ({
        pageDigests: (pages, count, key, out) => {
          raw.pageDigests(pages, count, key, out);
          spoil(out - 17);
        },
      }),
    ],
    ["refuses what is right", /core refuses a frame/, () => ({ deltaApply: () => -1 })],
  ];
  for (const [what, problem, kernels] of cases) {
    const broken = sabotaged(kernels);
    const verify = (crossCheck: boolean) => verifyGenerations(broken, inputs, { key: model.key, crossCheck });
    const { findings } = await verify(true);
    const caught = findings.filter((finding) => /^cross-check: /.test(finding.problem));
    t.ok(caught.length > 0, what);
    t.match(caught[0], { problem, path: /\/delta$/ }, what);
    t.ok((caught[0].offset ?? 0) > 0, "the frame is named");
    const without = await verify(false);
    t.notOk(
      without.findings.some((finding) => /^cross-check/.test(finding.problem)),
      "only where it was asked for",
    );
  }
});

t.test("a damaged frame is refused by both, and told once", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const chain = await model.addChain(1);
  const inputs = await inputsOf(chain, undefined, flipped("2/delta", 300));
  const { findings } = await verifyGenerations(core, inputs, { key: model.key, crossCheck: true });
  t.equal(findings.filter(({ problem }) => /checksum/.test(problem)).length, 1);
  t.notOk(findings.some(({ problem }) => /^cross-check/.test(problem)));
});

import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { Campaign } from "./campaign.ts";
import { corpusFolder, digestOf, readCorpus } from "./corpus.ts";
import { targetLoaders } from "./targets.ts";

/** Mutants for each target: enough to notice that a decoder was broken, few enough for every run of the tests. */
const mutants = 100;
const corpusBytesMax = 300_000;

const names = Object.keys(targetLoaders);
const failed: { target: string; input: string; problem: string }[] = [];
// The code's coverage only pays in long runs.
const campaign = new Campaign({
  useCoverage: false,
  onFailed: (target, input, { problem }) =>
    failed.push({ target, input: Buffer.from(input).toString("base64"), problem }),
});
t.teardown(() => campaign.close());

for (const target of names) {
  t.test(
    `${target}: seeds, the saved corpus and some mutants are decoded or refused as documented`,
    async (t) => {
      const counts = await campaign.fuzz({
        target,
        seed: "ci",
        inputs: mutants,
        milliseconds: Number.POSITIVE_INFINITY,
      });
      t.strictSame(
        failed.filter((one) => one.target === target),
        [],
      );
      t.ok(counts.inputs >= mutants, "inputs were run");
      t.ok(counts.accepted > 0, "valid inputs get through");
    },
  );
}

t.test("the corpus is small, and belongs to targets", async (t) => {
  let total = 0;
  for (const target of readdirSync(corpusFolder)) {
    t.ok(names.includes(target), target);
    for (const [name, input] of readCorpus(target)) {
      total += statSync(join(corpusFolder, target, name)).size;
      if (!name.startsWith("regression-"))
        t.equal(name, digestOf(input), "a name is the digest of the content");
    }
  }
  t.ok(total > 0 && total < corpusBytesMax, `${total} bytes`);
});

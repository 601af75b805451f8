import t, { type Test } from "tap";
import { Campaign } from "./campaign.ts";
import type { Outcome } from "./oracle.ts";

const targetsUrl = new URL("./targets-for-tests.js", import.meta.url).href;

interface Found {
  readonly input: Uint8Array;
  readonly outcome: Outcome;
}

/** Fuzzes a broken decoder. A step limit of two seconds is for a quiet machine: what hangs here, hangs for ever. */
async function find(
  t: Test,
  target: string,
  inputs: number,
): Promise<{ campaign: Campaign; found: Found[] }> {
  const found: Found[] = [];
  const onFailed = (_target: string, input: Uint8Array, outcome: Outcome) => found.push({ input, outcome });
  const campaign = new Campaign({ targetsUrl, inputMs: 500, heapMiB: 96, useCoverage: false, onFailed });
  t.teardown(() => campaign.close());
  const counts = await campaign.fuzz({ target, seed: "1", inputs, milliseconds: Number.POSITIVE_INFINITY });
  t.equal(counts.failures, found.length, "the count of failures is that of those told");
  return { campaign, found };
}

t.test("a decoder without faults has no failures", async (t) => {
  const { found } = await find(t, "correct", 2000);
  t.strictSame(found, []);
});

for (const [target, problem] of [
  ["throws-range-error", /RangeError: (Invalid typed array length|Offset is outside)/],
  ["wrong-result", /encoded again it is another input/],
  ["never-ends", /it did not end within 500 ms; alone: it did not end within 2500 ms/],
  ["takes-memory", /it took \d+ bytes of memory/],
  ["fills-heap", /ERR_WORKER_OUT_OF_MEMORY|reaching memory limit/],
] as const) {
  t.test(
    `what is wrong with the decoder "${target}" is found, and its input fails again alone`,
    async (t) => {
      const { campaign, found } = await find(t, target, 1500);
      t.ok(found.length > 0, "it is found");
      t.match(found[0]?.outcome.problem, problem);
      const again = await campaign.replay(target, found[0]?.input as Uint8Array);
      t.equal(again.verdict, "failed");
    },
  );
}

t.test("after an input that hangs, fuzzing goes on", async (t) => {
  const { campaign } = await find(t, "never-ends", 1500);
  const counts = await campaign.fuzz({ target: "correct", seed: "1", inputs: 500, milliseconds: 60_000 });
  t.ok(counts.inputs >= 500);
  t.equal(counts.failures, 0);
});

t.test("a seed repeats a run", async (t) => {
  const kept = async (seed: string) => {
    const campaign = new Campaign({ targetsUrl, useCoverage: false });
    t.teardown(() => campaign.close());
    await campaign.fuzz({ target: "throws-range-error", seed, inputs: 1000, milliseconds: 60_000 });
    return campaign.keptOf("throws-range-error");
  };
  t.strictSame(await kept("a"), await kept("a"));
  t.strictNotSame(await kept("a"), await kept("b"));
});

t.test("a target that cannot be loaded is no finding", async (t) => {
  const campaign = new Campaign({ targetsUrl, useCoverage: false });
  t.teardown(() => campaign.close());
  const job = { target: "nothing", seed: "1", inputs: 1, milliseconds: 60_000 };
  await t.rejects(campaign.fuzz(job), /Cannot fuzz nothing/);
});

import t from "tap";
import { headlineOf } from "../../cli/web/verify-page/headline.ts";
import { parseKey } from "../../cli/web/verify-page/key-text.ts";
import type { GenerationOutcome, Outcome } from "../../cli/web/verify-page/messages.ts";
import { describeBytes, describeTime, timeLeftMs } from "../../cli/web/verify-page/time-left.ts";

const generation = (restorable: boolean, disks: string[] = [], seed = false): GenerationOutcome => {
  return { name: "1", generation: 1, root: null, intact: restorable, restorable, seed, disks, heat: [] };
};
const outcome = (...restorable: boolean[]): Outcome => {
  const chains = [{ name: "", keyFits: true, generations: restorable.map((one) => generation(one)) }];
  return { chains, looseFiles: [], notes: [], quick: false };
};

t.test("the headline says how many can be restored, and is bad with findings", async (t) => {
  t.strictSame(headlineOf(outcome(true), 0), {
    text: "1 generation verified, no findings, all can be restored",
    kind: "good",
  });
  t.strictSame(headlineOf(outcome(true, false), 3), {
    text: "2 generations verified, 3 findings, 1 can be restored",
    kind: "bad",
  });
  t.match(headlineOf(outcome(false, false), 1).text, "none can be restored");
  const generations = [generation(true), generation(false, [], true)];
  t.strictSame(headlineOf({ ...outcome(), chains: [{ name: "", keyFits: true, generations }] }, 0), {
    text: "2 generations verified, no findings, all can be restored",
    kind: "good",
  });
  const strangers = { ...outcome(), chains: [{ name: "", keyFits: false, generations: [] }] };
  t.strictSame(headlineOf(strangers, 0), {
    text: "The key is another VM's, no generation was verified",
    kind: "bad",
  });
});

t.test("the headline is not good, and says why, if something was not checked", async (t) => {
  const withDisks = (...generations: GenerationOutcome[]): Outcome => {
    return { ...outcome(), chains: [{ name: "", keyFits: true, generations }] };
  };
  t.strictSame(headlineOf(withDisks(generation(false, ["vda"])), 0), {
    text: "1 generation verified, no findings, disks were not checked",
    kind: "partial",
  });
  t.strictSame(headlineOf(withDisks(generation(true), generation(false, ["vda"])), 0), {
    text: "2 generations verified, no findings, disks were not checked, 1 can be restored",
    kind: "partial",
  });
  t.equal(headlineOf(withDisks(generation(false, ["vda"])), 1).kind, "bad");
  t.strictSame(headlineOf({ ...outcome(true), quick: true }, 0), {
    text: "1 generation verified, no findings, page contents were left out",
    kind: "partial",
  });
  t.strictSame(headlineOf({ ...outcome(), chains: [], looseFiles: [{ path: "delta", isWhole: true }] }, 0), {
    text: "1 file checked by structure and checksums only, no findings",
    kind: "partial",
  });
});

t.test("the time that is left follows the pace so far", async (t) => {
  t.equal(timeLeftMs(2000, 1, 4), 6000);
  t.equal(timeLeftMs(2000, 4, 4), 0);
  t.equal(timeLeftMs(999, 1, 4), null, "too early to tell");
  t.equal(timeLeftMs(2000, 0, 4), null, "nothing done");
  t.strictSame([400, 59_001, 200_000, 7_260_000].map(describeTime), [
    "1 s",
    "1 min 0 s",
    "3 min 20 s",
    "2 h 1 min",
  ]);
});

t.test("sizes are told in the unit that fits", async (t) => {
  t.strictSame([0, 1023, 1536, 300 * 2 ** 20, 2 ** 42].map(describeBytes), [
    "0 bytes",
    "1023 bytes",
    "1.5 KiB",
    "300 MiB",
    "4.0 TiB",
  ]);
});

t.test("a key is 64 hexadecimal digits, with white space around it", async (t) => {
  t.strictSame(parseKey(` ${"0F".repeat(32)}\n`), new Uint8Array(32).fill(15));
  for (const text of [
    "",
    "0f".repeat(31),
    "0f".repeat(33),
    "0g".repeat(32),
    `${"0f".repeat(16)} ${"0f".repeat(16)}`,
  ]) {
    t.equal(parseKey(text), null);
  }
});

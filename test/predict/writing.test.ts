import t from "tap";
import { fitWriting } from "../../cli/predict/writing.ts";

const all = { memoryBytes: 256e6, leastBytes: 4096 };
const found = (rate: number, set: number, seconds: number) => ({
  seconds,
  bytes: set * -Math.expm1((-rate * seconds) / set),
});

t.test("rate and set come out of two windows", async (t) => {
  // 2 MB/s into 8 MB: 0.1 s finds 197.5 KB, 10 s find 7.34 MB.
  const { bytesPerSecond, setBytes } = fitWriting(found(2e6, 8e6, 0.1), found(2e6, 8e6, 10), all);
  t.ok(Math.abs(bytesPerSecond - 2e6) < 1, String(bytesPerSecond));
  t.ok(Math.abs(setBytes - 8e6) < 10, String(setBytes));
});

t.test("a longer time that found no more has seen the whole set", async (t) => {
  t.equal(fitWriting({ seconds: 1, bytes: 4e6 }, { seconds: 30, bytes: 4e6 }, all).setBytes, 4e6);
});

t.test("what was written before by other work does not count as going on", async (t) => {
  const burst = { seconds: 10, bytes: 100e6 };
  const quiet = fitWriting({ seconds: 0.1, bytes: 0 }, burst, all);
  t.ok(quiet.bytesPerSecond <= 40_960, "less than the short window could have seen");
  const slow = fitWriting({ seconds: 0.1, bytes: 50_000 }, burst, all);
  t.ok(Math.abs(slow.bytesPerSecond - 500_000) < 500, "as the short window says");
  t.equal(slow.setBytes, 256e6);
});

t.test("without a long window all memory may be written to", async (t) => {
  t.match(fitWriting({ seconds: 1, bytes: 0 }, null, all), { bytesPerSecond: 0 });
  t.equal(fitWriting({ seconds: 1, bytes: 1e6 }, null, all).setBytes, 256e6);
});

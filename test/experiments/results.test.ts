import { appendFile, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import t from "tap";
import { experimentKey, planSessions } from "../../cli/experiments/plan.ts";
import { ResultFile } from "../../cli/experiments/results.ts";
import { recordOf } from "./records.ts";

const sessions = planSessions({
  quick: true,
  workloads: null,
  links: null,
  methods: null,
  memoriesMiB: null,
  ages: null,
  awaysMs: null,
  repeats: 1,
});
const [one, two] = sessions.flatMap(({ experiments }) => experiments);

t.test("records are found again by their runs", async (t) => {
  const folder = join(t.testdir(), "new", "folder");
  const results = await ResultFile.open(folder);
  t.equal(results.made.size, 0);
  await results.add(recordOf(one));
  await results.add(recordOf(two));
  t.equal(results.path, join(folder, "results.jsonl"));
  t.equal((await readFile(results.path, "utf8")).split("\n").length, 3);
  const again = await ResultFile.open(folder);
  t.strictSame([...again.made.keys()], [experimentKey(one), experimentKey(two)]);
  t.strictSame(again.made.get(experimentKey(two)), recordOf(two));
});

t.test("a record that was cut off is removed", async (t) => {
  const folder = t.testdir();
  const results = await ResultFile.open(folder);
  await results.add(recordOf(one));
  const whole = await readFile(results.path, "utf8");
  for (const rest of ['{"format":1,"work', "{", JSON.stringify(recordOf(two)), "\u00fc"]) {
    await appendFile(results.path, rest);
    const again = await ResultFile.open(folder);
    t.strictSame([...again.made.keys()], [experimentKey(one)]);
    t.equal(await readFile(results.path, "utf8"), whole);
  }
});

t.test("a file with something else is refused with the line, and left as it is", async (t) => {
  const folder = t.testdir();
  const path = join(folder, "results.jsonl");
  for (const line of ["not JSON", '{"format":2}', JSON.stringify({ ...recordOf(one), totalMs: -1 })]) {
    const text = `${JSON.stringify(recordOf(two))}\n${line}\n`;
    await writeFile(path, text);
    await t.rejects(ResultFile.open(folder), { reason: "failed", message: `Cannot read line 2 of ${path}` });
    t.equal(await readFile(path, "utf8"), text);
  }
  await t.rejects(ResultFile.open(join(path, "below")), { reason: "failed", message: "Cannot use" });
});

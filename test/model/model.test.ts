import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import {
  destinationTransitions,
  sourceTransitions,
  type TransitionTable,
} from "../../cli/leg/state-machine.ts";
import { projectFiles, projectRoot } from "../project/project-files.ts";

const modelText = projectFiles("test/model")
  .filter((path) => path.endsWith(".pml"))
  .map((path) => readFileSync(join(projectRoot, path), "utf8"))
  .join("\n");

/** The pairs of states that the model goes through with a macro. */
function modelPairs(macro: string): string[] {
  const calls = modelText.matchAll(new RegExp(`(?<!#define )\\b${macro}\\((\\w+), (\\w+)\\)`, "g"));
  const pairs = [...calls].map(([, from, to]) => `${from} -> ${to}`.replaceAll("_", "-"));
  return [...new Set(pairs)].sort();
}

function codePairs(table: TransitionTable<string>): string[] {
  return Object.entries(table)
    .flatMap(([from, next]) => next.map((to) => `${from} -> ${to}`))
    .sort();
}

t.test("the model's source goes from state to state as the code's table says", async (t) => {
  t.strictSame(modelPairs("src_go"), codePairs(sourceTransitions));
});

t.test("the model's destination goes from state to state as the code's table says", async (t) => {
  t.strictSame(modelPairs("dst_go"), codePairs(destinationTransitions));
});

const missing = ["spin", "gcc"].filter((program) => spawnSync(program, ["--version"]).error !== undefined);
// Set-up installs them; where it cannot, a run on a developer's machine still says what was not checked.
const skip = missing.length > 0 && !process.env["CI"] ? `${missing.join(" and ")} not installed` : false;

t.test("spin finds no violation within small bounds, and finds sabotage", { skip }, async (t) => {
  const { status, stdout, stderr } = modelCheck("--quick", "--json");
  const lines = stdout.trim().split("\n");
  const results = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
  t.equal(status, 0, stderr + stdout);
  t.match(results.at(-1), { event: "done", checks: 4, surprises: 0 });
  const sound = results.filter(({ check }) => check === "quick");
  t.strictSame(
    sound.map(({ kind, property }) => [kind, property]),
    [
      ["safety", null],
      ["progress", null],
    ],
  );
  for (const { states } of sound) t.ok((states as number) > 10_000, `${states} states`);
  t.match(results, [
    {},
    {},
    { check: "released-before-shut", property: /P1|P4/ },
    { check: "asks-once", property: "P3" },
  ]);
});

t.test("a search that is cut short is no success", { skip }, async (t) => {
  const { status, stdout } = modelCheck("--quick", "--depth", "20");
  t.equal(status, 1);
  t.match(stdout, "the search was not complete");
});

function modelCheck(...args: string[]) {
  return spawnSync(process.execPath, [join(projectRoot, ".ci", "model-check.mjs"), ...args], {
    encoding: "utf8",
  });
}

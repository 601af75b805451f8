/**
 * Looks for power losses that a store does not survive, longer than the tests do.
 *
 *   node dist/test/power-loss/run.js [--all] [--seed N] [SCENARIO…]
 *
 *   --all   many more states at each moment
 */

import { readCommandLine } from "../command-line.ts";
import { explore } from "./exploration.ts";
import { record } from "./recorder.ts";
import { scenarios } from "./scenarios.ts";

const { values, positionals } = readCommandLine({
  allowPositionals: true,
  options: { all: { type: "boolean" }, seed: { type: "string", default: "1" } },
});

for (const name of positionals.length > 0 ? positionals : Object.keys(scenarios)) {
  const operations = await record(name);
  const thorough = values.all ? { samples: 128, isExhaustive: true } : {};
  const { moments, states, violations } = await explore(operations, {
    ...thorough,
    seed: Number(values.seed),
  });
  console.log(
    `${name}: ${operations.length} operations, ${moments} moments, ${states} states, ${violations.length} bad`,
  );
  for (const violation of violations) console.log(JSON.stringify(violation, null, 2));
  if (violations.length > 0) process.exitCode = 1;
}

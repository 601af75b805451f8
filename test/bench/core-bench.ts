/**
 * Our WASM kernels beside the same in C and beside npm packages, in one run, on memory of real processes:
 *
 *     npm run bench:core [-- [--json] [--rounds N] [--only NAME]…]
 *
 * Contenders take turns, and of each the best turn counts. `--json` prints one object as the last line.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readCommandLine, refuse } from "../command-line.ts";
import { contests } from "./kernels/contenders.ts";
import { makeInputs, writeInputs } from "./kernels/inputs.ts";
import { compete, type Outcome } from "./kernels/match.ts";
import { compileTwins, startTwins } from "./kernels/native-twins.ts";
import { describeMachine, headLine, tableLine } from "./kernels/table.ts";

/** Of memory: far more than caches hold, so that pages come from where a guest's pages come from. */
const memoryBytes = 64 << 20;
const roundsDefault = 15;

const { values } = readCommandLine({
  options: {
    json: { type: "boolean" },
    rounds: { type: "string" },
    only: { type: "string", multiple: true },
  },
});
const rounds = Number(values.rounds ?? roundsDefault);
if (!Number.isInteger(rounds) || rounds < 1)
  refuse(`Cannot run ${values.rounds} rounds: use a whole number from 1 on`);

const inputs = await makeInputs(memoryBytes);
const all = await contests(inputs);
const unknown = values.only?.find((name) => !all.some((contest) => contest.name === name));
if (unknown !== undefined)
  refuse(`Cannot run ${unknown}: there are ${all.map(({ name }) => name).join(", ")}`);

const say = (line: string) => values.json || console.log(line);
const folder = mkdtempSync(join(tmpdir(), "bfmig-kernels-"));
try {
  writeInputs(inputs, folder);
  const compiled = compileTwins(folder);
  const twins = [...compiled.programs].map(([build, program]) => startTwins(build, program, folder));
  const machine = describeMachine(inputs, compiled, rounds);
  say(`${machine.join("\n")}\n\n${headLine}`);
  const kernels: Outcome[] = [];
  try {
    for (const contest of all) {
      if (values.only && !values.only.includes(contest.name)) continue;
      const built = compiled.has(contest.twin) ? twins : [];
      const outcome = await compete(contest, built, rounds);
      say(tableLine(outcome));
      kernels.push(outcome);
    }
  } finally {
    for (const twin of twins) await twin.end();
  }
  for (const note of compiled.notes) process.stderr.write(`${note}\n`);
  if (values.json) console.log(JSON.stringify({ kernels, machine }));
} finally {
  rmSync(folder, { recursive: true, force: true });
}

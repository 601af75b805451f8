/**
 * Many legs in a row, back and forth, with a working set and accidents that nobody chose:
 *
 *     npm run soak [-- [--legs N] [--seed S] [--json]]
 *
 * Exits with 1 if anything was violated; the same seed draws the same changes and accidents. With RESULTS_FILE set,
 * `PASSED FAILED` is appended to that file.
 */

import { appendFileSync } from "node:fs";
import { readCommandLine, refuse } from "../command-line.ts";
import { FaultBed } from "../faults/fault-bed.ts";
import { SeededRandom } from "../faults/seeded-random.ts";
import { grows, keep, leaksFiles } from "./bounds.ts";
import { type SoakLeg, soakLeg } from "./soak-leg.ts";

const { values } = readCommandLine({
  options: {
    legs: { type: "string", default: "200" },
    seed: { type: "string", default: String(Date.now() % 2 ** 31) },
    json: { type: "boolean", default: false },
  },
});
const [count, seed] = [Number(values.legs), Number(values.seed)];
if (!Number.isInteger(count) || count < 1 || !Number.isInteger(seed)) {
  refuse("Cannot soak: --legs and --seed are whole numbers");
}
const mib = (bytes: number) => Math.round(bytes / 2 ** 20);

// Whatever ends a run by hand must end its processes too.
process.once("SIGINT", () => process.kill(process.pid, "SIGTERM"));

const startedAt = Date.now();
const legs: SoakLeg[] = [];
print(JSON.stringify({ event: "begin", legs: count, seed }), `seed ${seed}`);
const bed = await FaultBed.boot(false, { keep });
const violations: string[] = [];
try {
  const random = new SeededRandom(seed);
  for (let number = 1; number <= count; number++) {
    // In the first half agents live on.
    const leg = await soakLeg(bed, random, number > count / 2);
    legs.push(leg);
    reportLeg(number, leg);
    if (leg.violations.length === 0) continue;
    process.stderr.write(`${await bed.rig.condition().catch(String)}\n`);
    // What follows would show the same again.
    violations.push(`leg ${number} of seed ${seed}: the run ends there`);
    break;
  }
} finally {
  for (const left of await bed.close()) violations.push(`process ${left} is left`);
}
for (const [i, site] of ["a", "b"].entries()) {
  if (grows(legs.map(({ storeBytes }) => storeBytes[i] as number)))
    violations.push(`the store of ${site} grows`);
  const life = longestLife(i);
  if (grows(life.map(({ agentBytes }) => agentBytes[i] as number)))
    violations.push(`the agent of ${site} grows`);
  const files = life.map(({ agentFiles }) => agentFiles[i] as number);
  if (leaksFiles(files)) violations.push(`the agent of ${site} leaves files open: ${files.join(", ")}`);
}
summarise();

function reportLeg(number: number, leg: SoakLeg): void {
  const { from, to, accident, atMs, end, storeBytes, agentBytes, agentFiles } = leg;
  const happened =
    atMs === null ? (accident === "none" ? "" : `${accident}: too late`) : `${accident} at ${atMs} ms`;
  print(
    JSON.stringify({ event: "leg", leg: number, ...leg }),
    `${String(number).padStart(4)} ${from} to ${to}  stores ${storeBytes.map(mib).join(", ")} MiB  ` +
      `agents ${agentBytes.map(mib).join(", ")} MiB, ${agentFiles.join(", ")} files  ${happened}${end === "done" ? "" : ` (${end.slice(0, 120)})`}`,
  );
  for (const violation of leg.violations) process.stderr.write(`leg ${number}: ${violation}\n`);
}

/** The legs that one process of a site's agent has seen: of the one that has seen the most. */
function longestLife(site: number): readonly SoakLeg[] {
  const lives = new Map<number, SoakLeg[]>();
  for (const leg of legs) {
    const pid = leg.agentPids[site] as number;
    lives.set(pid, [...(lives.get(pid) ?? []), leg]);
  }
  return [...lives.values()].reduce((most, life) => (life.length > most.length ? life : most), []);
}

function summarise(): void {
  for (const violation of violations) process.stderr.write(`${violation}\n`);
  const failed = violations.length;
  const struck = legs.filter(({ atMs }) => atMs !== null).length;
  const mostStore = Math.max(...legs.flatMap(({ storeBytes }) => storeBytes));
  const mostAgent = Math.max(...legs.flatMap(({ agentBytes }) => agentBytes));
  const seconds = Math.round((Date.now() - startedAt) / 1000);
  print(
    JSON.stringify({
      event: "done",
      legs: legs.length,
      struck,
      seed,
      violations: failed,
      mostStore,
      mostAgent,
    }),
    `${legs.length} legs, ${struck} of them with an accident, ${failed} violations in ${seconds} s; ` +
      `at most ${mib(mostStore)} MiB in a store, ${mib(mostAgent)} MiB in an agent`,
  );
  const results = process.env["RESULTS_FILE"];
  if (results) appendFileSync(results, `${legs.length - Math.min(failed, legs.length)} ${failed}\n`);
  if (failed > 0) process.exitCode = 1;
}

function print(json: string, text: string): void {
  process.stdout.write(`${values.json ? json : text}\n`);
}

/**
 * The matrix of faults with real QEMU pairs:
 *
 *     npm run faults [-- [--quick] [--cell FAULT@AT]… [--cuts] [--json] [--list]]
 *
 * Cells that mostly wait run beside the others, in a testbed of their own. Exits with 1 if anything was violated. With
 * RESULTS_FILE set, `PASSED FAILED` is appended to that file.
 */

import { appendFileSync } from "node:fs";
import { readCommandLine } from "../command-line.ts";
import { runCuts } from "./cuts.ts";
import type { Verdict } from "./judge.ts";
import { runLane } from "./lane.ts";
import {
  allCells,
  type Cell,
  cellName,
  impossibleCells,
  isSlow,
  needsSmallStores,
  quickCells,
} from "./matrix.ts";
import { stateless } from "./places.ts";
import { canMount } from "./small-stores.ts";

const { values } = readCommandLine({
  options: {
    quick: { type: "boolean", default: false },
    cell: { type: "string", multiple: true },
    cuts: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
    list: { type: "boolean", default: false },
  },
});
const counts = { passed: 0, failed: 0 };

// Whatever ends a run by hand must end its processes too.
process.once("SIGINT", () => process.kill(process.pid, "SIGTERM"));

if (values.list) list();
else {
  await main().catch((error) => {
    if (!(error instanceof RangeError)) throw error;
    complain(error.message);
    process.exitCode = 2;
  });
}

async function main(): Promise<void> {
  const cells = chosenCells().filter((cell) => {
    if (canMount || !needsSmallStores(cell)) return true;
    complain(`left out ${cellName(cell)}: only root can mount a small file system`);
    return false;
  });
  const startedAt = Date.now();
  if (!values.json)
    print(row(["fault", "at", "running", "restartable", "intact", "next leg", "the leg", "seconds"]));
  const slow = cells.filter((cell) => isSlow(cell));
  const fast = cells.filter((cell) => !isSlow(cell));
  await Promise.all([runLane(fast, reportCell), runLane(slow, reportCell)]);
  if (values.cuts || values.quick) await reportCuts();
  const { passed, failed } = counts;
  const seconds = Math.round((Date.now() - startedAt) / 1000);
  print(
    values.json
      ? JSON.stringify({ event: "done", cells: cells.length, violations: failed })
      : `${passed} passed, ${failed} failed in ${seconds} s`,
  );
  const results = process.env["RESULTS_FILE"];
  if (results) appendFileSync(results, `${passed} ${failed}\n`);
  if (failed > 0) process.exitCode = 1;
}

function chosenCells(): readonly Cell[] {
  const { cell: names, quick, cuts } = values;
  if (names === undefined) return quick ? quickCells() : cuts ? [] : allCells();
  const known = allCells();
  return names.map((name) => {
    const found = known.find((one) => cellName(one) === name);
    if (!found) throw new RangeError(`Cannot run ${name}: there is no such cell; --list names all`);
    return found;
  });
}

function reportCell({ line, legEnd, violations }: Verdict, seconds: number, condition: string): void {
  count(violations);
  const { fault, at, running, restartable, intact, nextLegOk } = line;
  const words = [restartable, intact, nextLegOk].map((isGood) => (isGood ? "yes" : "NO"));
  print(
    values.json
      ? JSON.stringify(line)
      : row([fault, at, String(running), ...words, legEnd, seconds.toFixed(1)]),
  );
  for (const violation of violations) complain(`${fault}@${at}: ${violation}`);
  if (condition !== "") complain(condition.replace(/^/gm, "    "));
}

async function reportCuts(): Promise<void> {
  const { violations, ...figures } = await runCuts();
  count(violations);
  print(
    values.json
      ? JSON.stringify({ event: "cuts", ...figures })
      : `${figures.cuts} cuts: ${figures.twiceBytes} bytes crossed the link twice (${(100 * figures.share).toFixed(2)} %), ` +
          `${figures.resentBytes} of ${figures.wireBytes} bytes were given to it again`,
  );
  for (const violation of violations) complain(`cuts: ${violation}`);
}

function count(violations: readonly string[]): void {
  counts[violations.length === 0 ? "passed" : "failed"]++;
}

/** What there is and what there is not. */
function list(): void {
  const quick = new Set(quickCells().map(cellName));
  const cells = allCells().map((cell) => ({
    fault: cell.fault,
    at: cell.place.name,
    quick: quick.has(cellName(cell)),
    why: null,
  }));
  const missing = impossibleCells().map((pair) => ({ ...pair, quick: false }));
  if (values.json) {
    for (const line of [...cells, ...missing]) print(JSON.stringify(line));
    return;
  }
  for (const { fault, at, quick: isQuick } of cells) print(`${fault}@${at}${isQuick ? "  (quick)" : ""}`);
  for (const { fault, at, why } of missing) print(`${fault}@${at}: none, ${why}`);
  for (const [at, why] of Object.entries(stateless)) print(`${at}: none, ${why}`);
  print(`${cells.length} cells, ${quick.size} of them in a quick run`);
}

function row(columns: readonly string[]): string {
  const widths = [22, 26, 8, 12, 7, 9, 8, 7];
  return columns.map((text, i) => text.padEnd(widths[i] as number)).join(" ");
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

function complain(line: string): void {
  process.stderr.write(`${line}\n`);
}

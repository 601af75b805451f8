/** Reading what spin and its verifier print. */
import { readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { root } from "./project.mjs";

const MODEL_FOLDER = join(root, "test", "model");

/** What a search has come to. */
export function readVerdict(output) {
  const number = (pattern) => Number(pattern.exec(output)?.[1] ?? Number.NaN);
  const errors = number(/errors: (\d+)/);
  const hasStopped = /Search not completed|max search depth too small|out of memory|reached -DMEMLIM/i.test(
    output,
  );
  return {
    errors: Number.isNaN(errors) ? 0 : errors,
    isComplete: errors === 0 && !hasStopped,
    states: number(/^\s*([\d.e+]+) states, stored/m) || 0,
    depth: number(/depth reached (\d+)/) || 0,
    seconds: number(/elapsed time ([\d.e+-]+) seconds/) || 0,
  };
}

/**
 * The property that a run violates, by the comment at the assertion that failed, and the run's steps. A run without end
 * violates P3.
 */
export function blamedProperty(output, replay) {
  const trace = stepsOf(replay);
  if (/non-progress cycle/.test(output)) return { property: "P3", trace };
  const place = /spin: (\S+\.pml):(\d+), Error: assertion violated/.exec(replay);
  if (!place) return { property: /invalid end state/.test(output) ? "P3" : null, trace };
  const tag = /\/\* (P\d) \*\//.exec(sourceLine(place[1], Number(place[2])));
  return { property: tag ? tag[1] : null, trace };
}

/** Lines of steps that no run takes; without those that are marked as such, and the ends of endless loops. */
export function unreachedLines(output) {
  const lines = output.matchAll(/^\s+(\S+\.pml):(\d+), state \d+, "(.*)"$/gm);
  const places = [...lines]
    .filter(
      ([, file, line, text]) => text !== "-end-" && !sourceLine(file, Number(line)).includes("/* never */"),
    )
    .map(([, file, line]) => `${basename(file)}:${line}`);
  return [...new Set(places)];
}

/** One line a step: who, and the place of its guard. */
function stepsOf(replay) {
  const steps = new Map();
  for (const [, number, process, file, line] of replay.matchAll(
    /^\s*(\d+):\s+proc\s+\d+ \((\w+):\d+\) (\S+\.pml):(\d+)/gm,
  )) {
    if (!steps.has(number)) steps.set(number, `${number} ${process} ${basename(file)}:${line}`);
  }
  return [...steps.values()];
}

function sourceLine(file, line) {
  const text = readFileSync(join(MODEL_FOLDER, basename(file)), "utf8");
  return text.split("\n")[line - 1] ?? "";
}

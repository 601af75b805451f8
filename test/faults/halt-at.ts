/**
 * Preloaded into an agent (`NODE_OPTIONS=--import=…`): when the agent comes to the step that a file names, the file is
 * removed and the process stops itself. The signal takes effect before the call returns, so the agent stands exactly
 * there until somebody sends SIGCONT. One file may serve both sites of a leg: the step says whose it is.
 */

import { subscribe } from "node:diagnostics_channel";
import { readFileSync, rmSync } from "node:fs";
import { type LegStep, legStepChannel } from "../../cli/leg/leg-steps.ts";
import { haltFileVariable, stepText } from "./halt-file.ts";

const path = process.env[haltFileVariable];

if (path !== undefined) subscribe(legStepChannel, (step) => haltIfWanted(path, step as LegStep));

function haltIfWanted(file: string, step: LegStep): void {
  if (wanted(file) !== stepText(step)) return;
  rmSync(file, { force: true });
  process.kill(process.pid, "SIGSTOP");
}

function wanted(file: string): string | null {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return null;
  }
}

/** How a harness tells agents where to halt; see halt-at.ts. */

import { existsSync, readFileSync } from "node:fs";
import { rename, rm, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import type { LegStep } from "../../cli/leg/leg-steps.ts";

/** Environment variable with the path of the file. */
export const haltFileVariable = "BFMIG_TEST_HALT_FILE";

/** A step as the file names it. */
export function stepText({ side, step }: LegStep): string {
  return `${side}:${step}`;
}

/** The file of one testbed. */
export class HaltFile {
  private readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  /** Environment of the agents that are to heed the file, with what else they are given. Throws if they heed another. */
  environmentWith(more: Readonly<Record<string, string>> = {}): Record<string, string> {
    if (haltFileVariable in more) throw new Error("these agents heed another halt file: use that one");
    const preload = `--import=${fileURLToPath(new URL("./halt-at.js", import.meta.url))}`;
    const options = [preload, more["NODE_OPTIONS"] ?? ""].join(" ").trim();
    return { ...more, NODE_OPTIONS: options, [haltFileVariable]: this.path };
  }

  /** The next agent that comes to this step halts there, once. */
  async set(step: string): Promise<void> {
    await writeFile(`${this.path}.new`, step);
    await rename(`${this.path}.new`, this.path);
  }

  /** True until an agent has come to the step. */
  get isSet(): boolean {
    return existsSync(this.path);
  }

  async clear(): Promise<void> {
    await rm(this.path, { force: true });
  }
}

/** True if a process stands still by a signal. */
export function isHalted(pid: number): boolean {
  try {
    const status = readFileSync(`/proc/${pid}/stat`, "latin1");
    // The command is in brackets and may contain spaces and brackets itself.
    return status.slice(status.lastIndexOf(")") + 2).startsWith("T");
  } catch {
    return false;
  }
}

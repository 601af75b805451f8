/** Runs a command of `bfmig` within the test and collects what it prints. */

import type { Command } from "@commander-js/extra-typings";
import type { Test } from "tap";

/** Lines on stdout and stderr, and the exit code. */
export interface CommandOutput {
  readonly lines: string[];
  readonly diagnostics: string;
  readonly code: number;
}

export async function runInTest(t: Test, command: Command, ...args: string[]): Promise<CommandOutput> {
  const out = t.capture(process.stdout, "write");
  const diagnostics = t.capture(process.stderr, "write");
  process.exitCode = 0;
  try {
    await command.exitOverride().parseAsync(args, { from: "user" });
    const text = (written: ReturnType<typeof out>) =>
      written.map(({ args: [first] }) => String(first)).join("");
    const lines = text(out())
      .split("\n")
      .filter((line) => line !== "");
    return { lines, diagnostics: text(diagnostics()), code: Number(process.exitCode) };
  } finally {
    process.exitCode = 0;
    out.restore();
    diagnostics.restore();
  }
}

/** What commands print: a table or a line for people, one JSON object a line for programs. */

import { Option } from "@commander-js/extra-typings";
import Table from "cli-table3";
import { ExitCode, messageOf, OperationError } from "../errors.ts";

/** `--json`, on every command. */
export const jsonOption = new Option("--json", "print one JSON object per line, the last with event 'done'");

/** `--no-progress`, on commands that take long. */
export const progressOption = new Option("--no-progress", "do not draw a progress line");

/** `--control`, on every command that asks an agent. */
export const controlOption = new Option("--control <socket>", "control socket of the agent")
  .env("BFMIG_CONTROL")
  .default("/run/bfmig/agent.sock");

/** Prints a JSON object as one line on stdout. */
export function printJson(line: object): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

/** Prints a line for people on stdout. */
export function print(text: string): void {
  process.stdout.write(`${shown(text)}\n`);
}

/** Prints a diagnostic on stderr. */
export function warn(text: string): void {
  process.stderr.write(`bfmig: ${shown(text)}\n`);
}

/** Names come from files and peers: what would steer the terminal becomes a question mark. */
function shown(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g, "?");
}

/** Prints rows under headings, with no lines drawn. */
export function printTable(head: readonly string[], rows: readonly (readonly (string | number)[])[]): void {
  const none = Object.fromEntries(
    [
      "top",
      "top-mid",
      "top-left",
      "top-right",
      "bottom",
      "bottom-mid",
      "bottom-left",
      "bottom-right",
      "left",
      "left-mid",
      "mid",
      "mid-mid",
      "right",
      "right-mid",
    ].map((place) => [place, ""]),
  );
  const table = new Table({
    head: [...head],
    chars: { ...none, middle: "  " },
    style: { head: [], border: [], "padding-left": 0, "padding-right": 0 },
  });
  for (const row of rows) table.push([...row]);
  print(table.toString());
}

/** Runs the body of a command; a failure is reported. */
export async function runCommand(
  options: { readonly json?: true | undefined },
  body: () => Promise<void>,
): Promise<void> {
  try {
    await body();
  } catch (error) {
    reportFailure(error, { json: options.json ?? false, tell: true });
  }
}

/** Tells a failure on stderr, with `json` also as the last line on stdout, and sets the exit code. */
export function reportFailure(error: unknown, how: { readonly json: boolean; readonly tell: boolean }): void {
  const reason = error instanceof OperationError ? error.reason : "failed";
  const message = messageOf(error);
  process.exitCode = ExitCode[reason];
  if (how.json) printJson({ event: "error", reason, code: ExitCode[reason], message });
  if (how.tell) warn(message);
}

/** Makes a parser for an option's value from one that throws RangeError. */
export function positive(parse: (text: string) => number): (text: string) => number {
  return (text) => {
    try {
      const value = parse(text);
      if (value > 0) return value;
    } catch (error) {
      throw new OperationError("usage", messageOf(error));
    }
    throw new OperationError("usage", `Cannot use ${JSON.stringify(text)}: a value above zero is needed`);
  };
}

/** What the programs of this folder are told on their command lines. */

import process from "node:process";
import { type ParseArgsConfig, parseArgs } from "node:util";

/** Options and arguments as `parseArgs` gives them. What it refuses is told in one line, and the process ends with 2. */
export function readCommandLine<Config extends ParseArgsConfig>(
  config: Config,
): ReturnType<typeof parseArgs<Config>> {
  try {
    return parseArgs(config);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (!code?.startsWith("ERR_PARSE_ARGS_")) throw error;
    return refuse(`Cannot run: ${message}`);
  }
}

/** Tells what is wrong with the command line, and ends the process with 2. */
export function refuse(problem: string): never {
  process.stderr.write(`${problem}\n`);
  process.exit(2);
}

#!/usr/bin/env node
/** The program `bfmig`: puts the commands together and maps failures to exit codes. */

import { readFileSync } from "node:fs";
import { Command, CommanderError } from "@commander-js/extra-typings";
import { agentCommand } from "./commands/agent.ts";
import { demoCommand } from "./commands/demo.ts";
import { doctorCommand } from "./commands/doctor.ts";
import { generationCommands } from "./commands/generations.ts";
import { initCommand } from "./commands/init.ts";
import { inspectCommand } from "./commands/inspect.ts";
import { migrateCommand } from "./commands/migrate.ts";
import { reportFailure } from "./commands/output.ts";
import { peerCommand } from "./commands/peer.ts";
import { verifyCommand } from "./commands/verify.ts";
import { vmCommands } from "./commands/vm.ts";
import { ExitCode, OperationError } from "./errors.ts";

/** Where package.json is, seen from dist/cli/. */
const packageUrl = new URL("../../package.json", import.meta.url);

const program = new Command("bfmig")
  .description("live migration of virtual machines back and forth between sites over a WAN")
  .version((JSON.parse(readFileSync(packageUrl, "utf8")) as { version: string }).version)
  .exitOverride();

const commands = [
  initCommand(),
  peerCommand(),
  agentCommand(),
  ...vmCommands(),
  migrateCommand(),
  ...generationCommands(),
  doctorCommand(),
  verifyCommand(),
  inspectCommand(),
  demoCommand(),
];
for (const command of commands) program.addCommand(command.exitOverride());

// A reader that has seen enough (`| head`) is no failure: the exit code stays that of the command.
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
  });
}

try {
  await program.parseAsync();
} catch (error) {
  const isWord = error instanceof CommanderError;
  if (isWord && error.exitCode === 0) process.exitCode = ExitCode.done;
  else {
    const failure = isWord ? new OperationError("usage", error.message.replace(/^error: /, "")) : error;
    // What Commander throws it has told already.
    reportFailure(failure, { json: process.argv.includes("--json"), tell: !isWord });
  }
}

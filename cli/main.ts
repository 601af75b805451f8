#!/usr/bin/env node
/** The program `bfmig`: puts the commands together and maps failures to exit codes. */

import { readFileSync } from "node:fs";
import { Command, CommanderError } from "@commander-js/extra-typings";
import { reportFailure } from "./commands/output.ts";
import { ExitCode, OperationError } from "./errors.ts";

/** Where package.json is, seen from dist/cli/. */
const packageUrl = new URL("../../package.json", import.meta.url);

/** Words that each module of commands answers to. Only the module that is asked for is loaded: start-up is quick. */
const modules: readonly (readonly [words: readonly string[], load: () => Promise<readonly Command[]>])[] = [
  [["init"], async () => [(await import("./commands/init.ts")).initCommand()]],
  [["peer"], async () => [(await import("./commands/peer.ts")).peerCommand()]],
  [["agent"], async () => [(await import("./commands/agent.ts")).agentCommand()]],
  [
    ["define", "start", "stop", "attach", "list", "show"],
    async () => (await import("./commands/vm.ts")).vmCommands(),
  ],
  [["migrate"], async () => [(await import("./commands/migrate.ts")).migrateCommand()]],
  [["predict"], async () => [(await import("./commands/predict.ts")).predictCommand()]],
  [["sync"], async () => [(await import("./commands/sync.ts")).syncCommand()]],
  [
    ["generations", "prune", "recover"],
    async () => (await import("./commands/generations.ts")).generationCommands(),
  ],
  [["doctor"], async () => [(await import("./commands/doctor.ts")).doctorCommand()]],
  [["verify"], async () => [(await import("./commands/verify.ts")).verifyCommand()]],
  [["inspect"], async () => [(await import("./commands/inspect.ts")).inspectCommand()]],
  [["diff"], async () => [(await import("./commands/diff.ts")).diffCommand()]],
  [["export"], async () => [(await import("./commands/export.ts")).exportCommand()]],
  [["import"], async () => [(await import("./commands/import.ts")).importCommand()]],
  [["page"], async () => [(await import("./commands/page.ts")).pageCommand()]],
  [["bench"], async () => [(await import("./commands/bench.ts")).benchCommand()]],
  [["demo"], async () => [(await import("./commands/demo.ts")).demoCommand()]],
];

const program = new Command("bfmig")
  .description("live migration of virtual machines back and forth between sites over a WAN")
  .version((JSON.parse(readFileSync(packageUrl, "utf8")) as { version: string }).version)
  .exitOverride();

const wanted = modules.filter(([words]) => words.includes(process.argv[2] ?? ""));
for (const [, load] of wanted.length > 0 ? wanted : modules) {
  for (const command of await load()) program.addCommand(command.exitOverride());
}

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

/** `bfmig doctor VM`: explains how a VM is, and the safe ways out of what is wrong. Changes nothing. */

import { Command } from "@commander-js/extra-typings";
import type { Examination } from "../agent/doctor.ts";
import { formatTime } from "../config/units.ts";
import { ask } from "../control-client.ts";
import { controlOption, jsonOption, print, printJson, printTable, runCommand } from "./output.ts";

/** The command. Its exit code is 0, 1 (damaged), 4 (in doubt) or 6 (forked). */
export function doctorCommand(): Command {
  return new Command("doctor")
    .description("explain how a VM is, here and by what its peers say, and the safe ways out")
    .argument("<vm>", "its name")
    .addOption(controlOption)
    .addOption(jsonOption)
    .action((vm, options) =>
      runCommand(options, async () => {
        const done = await ask(options.control, "doctor", { vm });
        const found = done as unknown as Examination;
        if (options.json) printJson(done);
        else tell(found);
        process.exitCode = found.code;
      }),
    ) as unknown as Command;
}

function tell(found: Examination): void {
  print(`${found.vm} at ${found.site}: ${found.verdict}\n`);
  for (const line of found.explanation) print(line);
  print("");
  const { ownership, generations, branches, peers } = found;
  const newest = generations.findLast(({ seed }) => !seed);
  printTable(
    ["FIELD", "VALUE"],
    [
      ["ownership", ownership ? `${ownership.state}, epoch ${ownership.epoch}` : "cannot be read"],
      ["QEMU", found.qemu],
      ["newest generation", newest ? `${newest.generation}, ${formatTime(newest.ageMs)} old` : "-"],
      ["branches", branches.map(({ name }) => name).join(", ") || "-"],
      ...peers.map(({ site, says, problem }) => [
        `site ${site} says`,
        problem === null
          ? says
            ? `${says.state}, epoch ${says.epoch}`
            : "it does not know the VM"
          : "no answer",
      ]),
    ],
  );
  if (found.ways.length > 0) print("\nWhat can be done:");
  for (const { what, command } of found.ways) {
    print(`- ${what}`);
    if (command !== null) print(`    ${command}`);
  }
}

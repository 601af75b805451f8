/** Commands about what is retained: generations, prune, recover. */

import { Command, InvalidArgumentError } from "@commander-js/extra-typings";
import { formatSize, formatTime } from "../config/units.ts";
import { ask } from "../control-client.ts";
import { controlOption, jsonOption, print, printJson, printTable, runCommand, warn } from "./output.ts";

interface GenerationLine {
  readonly generation: number;
  readonly base: number | null;
  readonly from: string;
  readonly to: string;
  readonly createdAt: string;
  readonly ageMs: number;
  readonly diskBytes: number;
  readonly root: string;
}

/** The commands. */
export function generationCommands(): Command[] {
  return [generations(), prune(), recover()];
}

function generations(): Command {
  return new Command("generations")
    .description("list what is retained of a VM at this site")
    .argument("<vm>", "its name")
    .addOption(controlOption)
    .addOption(jsonOption)
    .action((vm, options) =>
      runCommand(options, async () => {
        const done = await ask(options.control, "generations", { vm });
        if (options.json) return printJson(done);
        const rows = (done["generations"] as GenerationLine[]).map((one) => [
          one.generation,
          one.base === null ? "complete" : `delta on ${one.base}`,
          `${one.from} to ${one.to}`,
          formatTime(one.ageMs),
          formatSize(one.diskBytes),
          one.root.slice(0, 16),
        ]);
        printTable(["GENERATION", "HELD AS", "LEG", "AGE", "ON DISK", "ROOT"], rows);
        for (const { directory, reason } of done["unusable"] as { directory: string; reason: string }[]) {
          warn(`${directory} is not usable: ${reason}`);
        }
      }),
    ) as unknown as Command;
}

function prune(): Command {
  return new Command("prune")
    .description("remove all but the newest generations and what they stand on")
    .argument("<vm>", "its name")
    .requiredOption("--keep <n>", "how many stay restartable", wholeNumber)
    .addOption(controlOption)
    .addOption(jsonOption)
    .action((vm, options) =>
      runCommand(options, async () => {
        const done = await ask(options.control, "prune", { vm, keep: options.keep });
        if (options.json) return printJson(done);
        const removed = done["removed"] as number[];
        print(
          removed.length === 0
            ? "nothing to remove"
            : `removed generations ${removed.sort((a, b) => a - b).join(", ")}`,
        );
      }),
    ) as unknown as Command;
}

function recover(): Command {
  return new Command("recover")
    .description("restart a VM here from what is retained")
    .argument("<vm>", "its name")
    .option("--generation <n>", "from this generation instead of the newest", wholeNumber)
    .option("--force", "although another site has, or may have, the VM: fence that site first")
    .addOption(controlOption)
    .addOption(jsonOption)
    .action((vm, options) =>
      runCommand(options, async () => {
        const body = { vm, generation: options.generation ?? null, force: options.force ?? false };
        const done = await ask(options.control, "recover", body);
        if (options.json) return printJson(done);
        if (done["resumed"]) print(`${vm} goes on here; nothing is lost`);
        else
          print(
            `${vm} runs here from generation ${done["generation"]}, ${formatTime(Number(done["ageMs"]))} old`,
          );
      }),
    ) as unknown as Command;
}

function wholeNumber(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value) || value < 1) {
    throw new InvalidArgumentError("a whole number from 1 on is needed");
  }
  return value;
}

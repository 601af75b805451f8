/** Commands about what is retained: generations, prune, recover. */

import { Command, InvalidArgumentError } from "@commander-js/extra-typings";
import { formatSize, formatTime } from "../config/units.ts";
import { ask } from "../control-client.ts";
import { OperationError } from "../errors.ts";
import { controlOption, jsonOption, print, printJson, printTable, runCommand, warn } from "./output.ts";

interface GenerationLine {
  readonly generation: number;
  /** True if it cannot be restarted. */
  readonly seed: boolean;
  readonly base: number | null;
  readonly from: string;
  readonly to: string;
  readonly createdAt: string;
  readonly ageMs: number;
  readonly diskBytes: number;
  readonly root: string;
}

interface BranchLine {
  readonly name: string;
  readonly epoch: number;
  readonly by: { readonly site: string; readonly epoch: number };
  readonly ageMs: number;
  readonly generation: number;
  readonly memory: boolean;
  readonly diskBytes: number;
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
          (one.seed ? "seed, " : "") + (one.base === null ? "complete" : `delta on ${one.base}`),
          `${one.from} to ${one.to}`,
          formatTime(one.ageMs),
          formatSize(one.diskBytes),
          one.root.slice(0, 16),
        ]);
        printTable(["GENERATION", "HELD AS", "LEG", "AGE", "ON DISK", "ROOT"], rows);
        const branches = (done["branches"] as BranchLine[]).map((one) => [
          one.name,
          one.memory ? "memory and disks" : "disks only",
          one.generation === 0 ? "-" : one.generation,
          one.epoch,
          formatTime(one.ageMs),
          formatSize(one.diskBytes),
          `${one.by.site} had taken the VM over (epoch ${one.by.epoch})`,
        ]);
        if (branches.length > 0) {
          print("");
          printTable(["BRANCH", "HOLDS", "AFTER", "EPOCH", "AGE", "ON DISK", "WHY"], branches);
        }
        for (const { directory, reason } of done["unusable"] as { directory: string; reason: string }[]) {
          warn(`${directory} is not usable: ${reason}`);
        }
      }),
    ) as unknown as Command;
}

function prune(): Command {
  return new Command("prune")
    .description("remove all but the newest generations and what they stand on, or a branch")
    .argument("<vm>", "its name")
    .option("--keep <n>", "how many stay restartable", wholeNumber)
    .option("--branch <name>", "remove this branch for good")
    .addOption(controlOption)
    .addOption(jsonOption)
    .action((vm, options) =>
      runCommand(options, async () => {
        const { branch, keep } = options;
        if ((branch === undefined) === (keep === undefined)) {
          throw new OperationError("usage", `Cannot prune ${vm}: give either --keep or --branch`);
        }
        if (branch !== undefined) {
          const gone = await ask(options.control, "prunebranch", { vm, branch });
          if (options.json) printJson(gone);
          else print(`removed branch ${branch}`);
          return;
        }
        const done = await ask(options.control, "prune", { vm, keep });
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
    .option("--branch <name>", "from this branch, which was kept when another site had taken the VM over")
    .option("--force", "although another site has, or may have, the VM: fence that site first")
    .addOption(controlOption)
    .addOption(jsonOption)
    .action((vm, options) =>
      runCommand(options, async () => {
        const body = {
          vm,
          generation: options.generation ?? null,
          branch: options.branch ?? null,
          force: options.force ?? false,
        };
        const done = await ask(options.control, "recover", body);
        if (options.json) return printJson(done);
        const from =
          done["branch"] === null ? `generation ${done["generation"]}` : `branch ${done["branch"]}`;
        const age = formatTime(Number(done["ageMs"]));
        if (done["resumed"]) print(`${vm} goes on here; nothing is lost`);
        else if (done["disksOnly"])
          print(`${vm} starts here with the disks of ${from}, ${age} old, and empty memory`);
        else print(`${vm} runs here from ${from}, ${age} old`);
        if (typeof done["loss"] === "string") warn(done["loss"]);
        if (typeof done["warning"] === "string") warn(done["warning"]);
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

/** `bfmig diff GEN1 GEN2`: which pages and blocks differ between two generations of a VM. */

import { Command } from "@commander-js/extra-typings";
import { type Core, loadCore } from "../../src/core.ts";
import { pageBytes } from "../../src/delta/vocabulary.ts";
import { formatSize } from "../config/units.ts";
import { type DiffRange, type DiffSummary, diffGenerations } from "../diff/diff.ts";
import { OperationError } from "../errors.ts";
import { type FoundGeneration, generationAt, generationOfVm } from "../store/find-generation.ts";
import { jsonOption, print, printJson, printTable, runCommand } from "./output.ts";
import { generationNumber } from "./whole-number.ts";

/** The command. */
export function diffCommand(): Command {
  return new Command("diff")
    .description("tell which pages and disk blocks differ between two generations of a VM")
    .argument("<gen1>", "folder of a generation; with --store and --vm its number")
    .argument("<gen2>", "the other one")
    .option("--store <path>", "the store that both are in")
    .option("--vm <name>", "the VM that both are of")
    .option("--ranges", "list what differs as ranges")
    .option("--contents", "compare contents, not digests")
    .option("--key <file>", "digest key of the VM, for its disks; beside the store by default")
    .addOption(jsonOption)
    .action((gen1, gen2, options) =>
      runCommand(options, async () => {
        const core = await loadCore();
        const { store, vm } = options;
        if ((store === undefined) !== (vm === undefined)) {
          throw new OperationError(
            "usage",
            `Cannot compare ${gen1} with ${gen2}: give both --store and --vm`,
          );
        }
        const where = store === undefined || vm === undefined ? null : { storePath: store, vm };
        const a = await find(core, gen1, where);
        const b = await find(core, gen2, where);
        const lists = options.ranges ?? false;
        const summary = await diffGenerations(core, a, b, {
          contents: options.contents ?? false,
          keyPath: options.key ?? null,
          onRange: (range) => {
            if (lists) tellRange(range, options.json ?? false);
          },
        });
        if (options.json) printJson({ event: "done", ...summary });
        else tell(summary, lists);
      }),
    ) as unknown as Command;
}

async function find(
  core: Core,
  given: string,
  where: { readonly storePath: string; readonly vm: string } | null,
): Promise<FoundGeneration> {
  if (where === null) return await generationAt(core, `Cannot compare ${given}`, given);
  const action = `Cannot compare generations of ${where.vm}`;
  return await generationOfVm(core, action, { ...where, number: generationNumber(given) });
}

function tellRange(range: DiffRange, json: boolean): void {
  if (json) {
    printJson({ event: "range", ...range });
    return;
  }
  const { kind, name, first, count } = range;
  const unit = kind === "disk" ? "block" : "page";
  const last = first + count - 1;
  print(`${name}: ${count === 1 ? `${unit} ${first}` : `${unit}s ${first} to ${last}`}`);
}

function tell(
  { vm, generations, device, seeds, parts, comparedContents }: DiffSummary,
  isListed: boolean,
): void {
  const [left, right] = generations;
  print(
    `${vm}: generation ${left} and generation ${right}, by ${comparedContents ? "contents" : "their digests"}`,
  );
  printTable(
    ["part", "pages or blocks", "differ", "in ranges", "bytes"],
    parts.map(({ kind, name, total, differing, ranges }) => [
      kind === "disk" ? `disk ${name}` : name,
      total,
      differing,
      ranges,
      formatSize(differing * pageBytes),
    ]),
  );
  if (!isListed) {
    for (const { kind, name, differing, picture } of parts) {
      if (differing === 0) continue;
      print(kind === "disk" ? `disk ${name}` : name);
      for (const line of picture) print(`  ${line}`);
    }
  }
  const none = seeds.length === 0 ? "" : ` (${seeds.join(" and ")}: a seed, which has none)`;
  print(`device state: ${device ? "differs" : "the same"}${none}`);
}

/** `bfmig bench`: the experiments, and the report of what they gave. */

import { Command } from "@commander-js/extra-typings";
import { experimentsCommand } from "./bench-experiments.ts";
import { jsonOption, print, printJson, runCommand } from "./output.ts";

/** The command. */
export function benchCommand(): Command {
  const bench = new Command("bench").description(
    "measure on this machine what moving VMs costs, and report on it",
  );
  for (const command of [experimentsCommand(), report()]) bench.addCommand(command.exitOverride());
  return bench as unknown as Command;
}

function report(): Command {
  return new Command("report")
    .description("make tables and plots of the runs in a folder: results.json, results.csv and report.html")
    .argument("<dir>", "folder that has results.jsonl")
    .option("--markdown", "write report.md too, with the same tables")
    .addOption(jsonOption)
    .action((dir, options) =>
      runCommand(options, async () => {
        // It brings the library for plots, which no other command should wait for.
        const { makeReport } = await import("../experiments/report/make-report.ts");
        const markdown = options.markdown ?? false;
        const command = `bfmig bench report ${dir}${markdown ? " --markdown" : ""}`;
        const made = await makeReport(dir, { command, experiments: null, markdown });
        if (options.json) return printJson({ event: "done", ...made });
        const { runs, notConverged, files, missing } = made;
        print(`${runs} runs, ${notConverged === 0 ? "all converged" : `${notConverged} did not converge`}`);
        for (const reason of missing) print(reason);
        for (const file of files) print(`wrote ${file}`);
      }),
    ) as unknown as Command;
}

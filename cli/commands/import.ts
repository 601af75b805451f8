/** `bfmig import FILE`: makes a generation of a migration stream that QEMU saved. */

import process from "node:process";
import { Command, Option } from "@commander-js/extra-typings";
import { loadCore } from "../../src/core.ts";
import { formatSize } from "../config/units.ts";
import { importStream } from "../import/import.ts";
import { jsonOption, print, printJson, progressOption, runCommand } from "./output.ts";
import { progressBar } from "./progress-bar.ts";

/** The command. */
export function importCommand(): Command {
  return new Command("import")
    .description(
      "make a generation of a migration stream that QEMU saved to a file; no agent may have the store",
    )
    .argument("<file>", "the stream, as QEMU's 'migrate exec:cat>FILE' or 'migrate file:FILE' writes it")
    .requiredOption("--store <path>", "the store")
    .requiredOption("--vm <name>", "name of the VM")
    .option("--definition <file>", "define the VM from this YAML file")
    .addOption(
      new Option("--accel <accel>", "what ran the VM, where neither stream nor definition tell").choices([
        "kvm",
        "tcg",
      ] as const),
    )
    .option("--key <file>", "digest key of the VM, where it does not lie beside the store")
    .addOption(jsonOption)
    .addOption(progressOption)
    .action((file, options) =>
      runCommand(options, async () => {
        const core = await loadCore();
        const progress = progressBar(
          "import",
          options.progress && !options.json && process.stderr.isTTY === true,
        );
        const manifest = await importStream(core, {
          filePath: file,
          storePath: options.store,
          vm: options.vm,
          definitionPath: options.definition ?? null,
          keyPath: options.key ?? null,
          accelerator: options.accel ?? null,
          onProgress: progress.update,
        }).finally(progress.stop);
        const { vm, generation, root, machine, accelerator, regions, deviceBytes } = manifest;
        if (options.json) {
          printJson({ event: "done", vm, generation, root, machine, accelerator, regions, deviceBytes });
          return;
        }
        const ram = regions.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0);
        print(
          `imported generation ${generation} of ${vm}: ${formatSize(ram)} of RAM, ${deviceBytes} bytes of device state`,
        );
        print(`root ${root}`);
        print(`who has ${vm} is as before; 'bfmig recover' restarts it from here`);
      }),
    ) as unknown as Command;
}

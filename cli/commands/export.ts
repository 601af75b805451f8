/** `bfmig export VM`: writes a generation as files that QEMU and others understand. */

import process from "node:process";
import { Command, Option } from "@commander-js/extra-typings";
import { loadCore } from "../../src/core.ts";
import { formatSize } from "../config/units.ts";
import { OperationError } from "../errors.ts";
import type { ExportFinding } from "../export/damage-log.ts";
import { DamagedExport, type ExportResult, exportGeneration } from "../export/export.ts";
import { generationAt, generationOfVm } from "../store/find-generation.ts";
import { readDigestKey } from "../verify/digest-key.ts";
import { jsonOption, print, printJson, progressOption, runCommand } from "./output.ts";
import { progressBar } from "./progress-bar.ts";
import { generationNumber } from "./whole-number.ts";

/** Findings that are listed for people; `--json` lists all. */
const listedFindings = 40;

/** The command. */
export function exportCommand(): Command {
  return new Command("export")
    .description("write a generation as plain files: RAM raw or as a stream for -incoming, disks as images")
    .argument("<vm>", "its name, with --store; else the folder of a generation")
    .requiredOption("--out <dir>", "folder for the files")
    .option("--store <path>", "the store that the VM is in")
    .option("--generation <n>", "number of the generation; the newest by default")
    .addOption(
      new Option("--format <format>", "RAM as raw images, or with the device state as a migration stream")
        .choices(["raw", "stream"] as const)
        .default("raw" as const),
    )
    .addOption(
      new Option("--disk-format <format>", "format of the disks' images")
        .choices(["qcow2", "raw"] as const)
        .default("qcow2" as const),
    )
    .option("--key <file>", "digest key of the VM; beside the store by default")
    .option("--force", "replace files that are there")
    .option("--damaged", "write the files although their content is not what was committed")
    .addOption(jsonOption)
    .addOption(progressOption)
    .action((vm, options) =>
      runCommand(options, async () => {
        const core = await loadCore();
        const action = `Cannot export ${vm}`;
        const { store } = options;
        const number = options.generation === undefined ? null : generationNumber(options.generation);
        if (store === undefined && number !== null) {
          throw new OperationError("usage", `${action}: --generation needs --store, and the VM's name`);
        }
        const found =
          store === undefined
            ? await generationAt(core, action, vm)
            : await generationOfVm(core, action, { storePath: store, vm, number });
        const keyPaths = options.key === undefined ? [] : [options.key];
        const key = await readDigestKey(action, found.generation.manifest.vm, found.storePath, keyPaths);
        const progress = progressBar(
          "export",
          options.progress && !options.json && process.stderr.isTTY === true,
        );
        try {
          const result = await exportGeneration(core, found, key, {
            outPath: options.out,
            format: options.format,
            diskFormat: options.diskFormat,
            force: options.force ?? false,
            damaged: options.damaged ?? false,
            onProgress: progress.update,
          });
          progress.stop();
          if (options.json) tellJson(result);
          else tell(result, options.out);
        } catch (error) {
          progress.stop();
          if (error instanceof DamagedExport)
            tellFindings(error.findings, error.omitted, options.json ?? false);
          throw error;
        }
      }),
    ) as unknown as Command;
}

function tellJson({ findings, ...result }: ExportResult): void {
  for (const finding of findings) printJson({ event: "finding", ...finding });
  printJson({ event: "done", ...result });
}

function tell(result: ExportResult, out: string): void {
  const { vm, generation, machine, files, findings, omittedFindings } = result;
  tellFindings(findings, omittedFindings, false);
  for (const { file, name, bytes } of files) {
    print(`${out}/${file}: ${name ?? "RAM and device state"}, ${formatSize(bytes)}`);
  }
  const state = result.intact
    ? "every page, block and digest is as it was committed"
    : "its content is DAMAGED";
  print(`exported generation ${generation} of ${vm}: ${state}`);
  const stream = files.find(({ kind }) => kind === "stream");
  if (stream) {
    print(
      `a QEMU with the same devices takes it: -machine ${machine} … -incoming 'exec:cat ${out}/${stream.file}'`,
    );
  }
}

function tellFindings(findings: readonly ExportFinding[], omitted: number, json: boolean): void {
  const listed = json ? findings : findings.slice(0, listedFindings);
  for (const finding of listed) {
    if (json) printJson({ event: "finding", ...finding });
    else print(`${finding.where === null ? "" : `${finding.where}: `}${finding.problem}`);
  }
  const left = findings.length - listed.length + omitted;
  if (left > 0 && !json) print(`… and ${left} more`);
}

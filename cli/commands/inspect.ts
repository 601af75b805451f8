/** `bfmig inspect FILE`: explains a delta, a manifest, a captured QEMU stream, or another file of a store. */

import { Command } from "@commander-js/extra-typings";
import { loadCore } from "../../src/core.ts";
import { isSeed, type Manifest } from "../../src/generation/manifest.ts";
import { formatSize } from "../config/units.ts";
import { OperationError } from "../errors.ts";
import type { FrameLine } from "../inspect/frames.ts";
import type { GenerationFileSummary } from "../inspect/generation-file.ts";
import type { ImageRecordSummary, NamedFile } from "../inspect/image-record.ts";
import { type Inspection, inspectFile } from "../inspect/inspect.ts";
import { countsOf, explainFrames, printFrames } from "./inspect-frames.ts";
import { explainStream } from "./inspect-stream.ts";
import { jsonOption, print, printJson, printTable, runCommand } from "./output.ts";

/** Frames that are listed for people; `--json` lists all. */
const listedFrames = 40;

/** The command. */
export function inspectCommand(): Command {
  return new Command("inspect")
    .description(
      "explain a delta, a manifest, a captured QEMU migration stream, a generation's ram.img or digests, disks.json, or an image's descriptor or digests",
    )
    .argument("<file>", "what to look at")
    .option("--fields", "of a stream: list the fields of each device with their values")
    .addOption(jsonOption)
    .action((path, options) =>
      runCommand(options, async () => {
        const core = await loadCore();
        const listed: FrameLine[] = [];
        const onFrame = (line: FrameLine) => {
          if (options.json) printJson({ event: "frame", ...line });
          else if (listed.length < listedFrames) listed.push(line);
        };
        try {
          const inspection = await inspectFile(core, path, onFrame);
          if (options.json) printJson({ event: "done", ...inspection });
          else explain(inspection, listed, options.fields ?? false);
          const problem = inspection.kind === "qemu-stream" ? inspection.deviceProblem : null;
          if (problem !== null) throw new OperationError("failed", problem);
        } catch (error) {
          if (!options.json && listed.length > 0) printFrames(listed);
          throw error;
        }
      }),
    ) as unknown as Command;
}

function explain(inspection: Inspection, listed: readonly FrameLine[], fields: boolean): void {
  if (inspection.kind === "frames") explainFrames(inspection, listed);
  else if (inspection.kind === "qemu-stream") explainStream(inspection, fields);
  else if (inspection.kind === "manifest") explainManifest(inspection.manifest);
  else if ("levels" in inspection || "current" in inspection || "file" in inspection) {
    explainImageRecord(inspection);
  } else explainGenerationFile(inspection);
}

function explainManifest(manifest: Manifest): void {
  const { base, files, records } = manifest;
  print(`Manifest of generation ${manifest.generation} of ${manifest.vm}, format ${manifest.format}`);
  if (isSeed(manifest)) print("It is a seed: legs build on it, and no VM is restarted from it");
  printTable(
    ["field", "value"],
    [
      ["root", manifest.root],
      ["stands on", base ? `generation ${base.generation}, root ${base.root}` : "nothing: it is complete"],
      [
        "switchover",
        `${manifest.createdAt}, from ${manifest.from} to ${manifest.to}, epoch ${manifest.epoch}`,
      ],
      ["machine", manifest.machine],
      ["device state", `${manifest.deviceBytes} bytes, digest ${manifest.deviceDigest}`],
      ["records", countsOf(records) || "none"],
    ],
  );
  printTable(
    ["region", "kind", "bytes"],
    manifest.regions.map(({ name, kind, lengthBytes }) => [name, kind, lengthBytes]),
  );
  if (manifest.disks.length > 0) {
    printTable(
      ["disk", "bytes", "image"],
      manifest.disks.map(({ name, lengthBytes, image }) => [name, lengthBytes, image]),
    );
  }
  printTable(
    ["file", "bytes", "digest"],
    Object.entries(files).map(([name, file]) => [name, file.bytes, file.digest ?? "by page digests"]),
  );
}

function explainGenerationFile(summary: GenerationFileSummary): void {
  const what =
    summary.kind === "digests" ? "Page digests" : summary.isOverlay ? "Overlay image" : "Complete image";
  print(`${what} of generation ${summary.generation} of ${summary.vm}, ${formatSize(summary.bytes)}`);
  for (const { name, pages, offset, filledPages, picture } of summary.regions) {
    const filled = filledPages === null ? "" : `, ${filledPages} not zero`;
    print(`${name}: ${pages} pages from byte ${offset}${filled}`);
    for (const line of picture) print(`  ${line}`);
  }
}

function explainImageRecord(summary: ImageRecordSummary): void {
  if (summary.kind === "current-disks") {
    const { images, aside } = summary.current;
    print("Images that the VM here writes to, or wrote to last");
    printTable(["disk", "image"], Object.entries(images));
    if (aside.length > 0) print(`Set aside by recover: ${aside.join(", ")}`);
    return;
  }
  const { descriptor } = summary;
  const { id, disk, lengthBytes } = descriptor;
  if (summary.kind === "image-descriptor") {
    const { file, digests, below } = summary;
    print(`Image ${id} of disk ${disk}, ${formatSize(lengthBytes)}`);
    printTable(
      ["field", "value"],
      [
        [`file (${descriptor.imageFormat})`, describeFile(file)],
        ["digests", digests ? describeFile(digests) : "none: a VM may write to it"],
        ["stands on", below.length > 0 ? below.join(", then ") : "nothing: it has everything"],
      ],
    );
    return;
  }
  print(`Block digests of image ${id} of disk ${disk}, ${formatSize(lengthBytes)}`);
  print(`  ${formatSize(summary.bytes)}, of which ${formatSize(summary.allocatedBytes)} take room`);
  printTable(
    ["level", "from byte", "entries", "in this file"],
    summary.levels.map(({ level, offset, entries, present }) => [level, offset, entries, present]),
  );
}

function describeFile({ path, bytes, allocatedBytes }: NamedFile): string {
  if (bytes === null || allocatedBytes === null) return `${path}, which is missing`;
  return `${path}, ${formatSize(bytes)}, of which ${formatSize(allocatedBytes)} take room`;
}

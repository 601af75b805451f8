/** `bfmig inspect FILE`: explains a delta, a manifest, a captured QEMU stream, or another file of a store. */

import { Command } from "@commander-js/extra-typings";
import { loadCore } from "../../src/core.ts";
import { type RecordCounts, recordKindNames } from "../../src/delta/vocabulary.ts";
import type { Manifest } from "../../src/generation/manifest.ts";
import { formatSize } from "../config/units.ts";
import type { FrameLine, FramesSummary } from "../inspect/frames.ts";
import type { GenerationFileSummary } from "../inspect/generation-file.ts";
import type { ImageRecordSummary, NamedFile } from "../inspect/image-record.ts";
import { type Inspection, inspectFile } from "../inspect/inspect.ts";
import type { StreamSummary } from "../inspect/qemu-stream.ts";
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
          else explain(inspection, listed);
        } catch (error) {
          if (!options.json && listed.length > 0) printFrames(listed);
          throw error;
        }
      }),
    ) as unknown as Command;
}

function explain(inspection: Inspection, listed: readonly FrameLine[]): void {
  if (inspection.kind === "frames") explainFrames(inspection, listed);
  else if (inspection.kind === "qemu-stream") explainStream(inspection);
  else if (inspection.kind === "manifest") explainManifest(inspection.manifest);
  else if ("levels" in inspection || "current" in inspection || "file" in inspection) {
    explainImageRecord(inspection);
  } else explainGenerationFile(inspection);
}

function explainFrames(summary: FramesSummary, listed: readonly FrameLine[]): void {
  const { header, trailer, frames, bytes } = summary;
  if (header) {
    const { base } = header;
    print(
      `Delta of ${header.vm}: generation ${base.generation} to ${header.generation}, ${header.totalPages} pages`,
    );
    print(`  stands on root ${base.root}`);
  } else print(summary.deviceBytes > 0 ? "Device state" : "Frames without a header");
  print(`  ${frames} frames, ${formatSize(bytes)}`);
  if (summary.deviceBytes > 0) print(`  ${formatSize(summary.deviceBytes)} of device state`);
  if (header) print(`  records: ${countsOf(summary.records) || "none"}`);
  for (const [i, { name, records }] of summary.disks.entries()) {
    if (header) print(`  of these disk ${i}, ${name}: ${countsOf(records) || "none"}`);
  }
  printFrames(listed);
  if (frames > listed.length) print(`  … ${frames - listed.length} more frames; --json lists all`);
  if (header && !trailer) print("The trailer is missing: the delta is not complete");
  if (summary.picture.length > 0) {
    print(`Pages with a record: ${summary.dirtyPages}`);
    for (const line of summary.picture) print(`  ${line}`);
  }
}

function printFrames(listed: readonly FrameLine[]): void {
  printTable(
    ["byte", "no.", "kind", "codec", "region", "bytes", "records"],
    listed.map(({ at, sequence, kind, codec, region, regionName, frameBytes, records }) => [
      at,
      sequence,
      kind,
      codec,
      kind === "pages" ? (regionName ?? region) : "",
      frameBytes,
      countsOf(records),
    ]),
  );
}

function explainManifest(manifest: Manifest): void {
  const { base, files, records } = manifest;
  print(`Manifest of generation ${manifest.generation} of ${manifest.vm}, format ${manifest.format}`);
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

function explainStream(summary: StreamSummary): void {
  print(`QEMU migration stream of a ${summary.machine}, ${formatSize(summary.bytes)}`);
  const { ramSections, commands, subsections, deviceStateBytes, devices } = summary;
  print(
    `  ${ramSections} RAM sections, ${commands} commands${subsections.map((name) => `, ${name}`).join("")}`,
  );
  printTable(
    ["RAM block", "bytes", "sent zero", "sent whole", "whole but zero", "different pages"],
    summary.blocks.map(({ id, lengthBytes, zero, whole, wholeOfZeroes, distinct }) => [
      id,
      lengthBytes,
      zero,
      whole,
      wholeOfZeroes,
      distinct,
    ]),
  );
  print(`Device state: ${deviceStateBytes} bytes, ${devices.length} devices`);
  if (devices.length > 0) print(`  ${devices.join(", ")}`);
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

function countsOf(records: RecordCounts): string {
  return recordKindNames
    .filter((name) => records[name] > 0)
    .map((name) => `${name} ${records[name]}`)
    .join(", ");
}

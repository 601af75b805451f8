/** Prints what a delta, or another file of frames, is. */

import { type RecordCounts, recordKindNames } from "../../src/delta/vocabulary.ts";
import { formatSize } from "../config/units.ts";
import type { FrameLine, FramesSummary } from "../inspect/frames.ts";
import { print, printTable } from "./output.ts";

/** Prints the summary of a file, and the frames of it that are to be listed. */
export function explainFrames(summary: FramesSummary, listed: readonly FrameLine[]): void {
  const { header, trailer, frames, bytes, records, recordBytes, frameKinds } = summary;
  if (header) {
    const { base } = header;
    print(
      `Delta of ${header.vm}: generation ${base.generation} to ${header.generation}, ${header.totalPages} pages`,
    );
    print(`  stands on root ${base.root}`);
  } else print(titleOf(summary));
  print(`  ${frames} frames, ${formatSize(bytes)}`);
  if (summary.deviceBytes > 0) print(`  ${formatSize(summary.deviceBytes)} of device state`);
  if (header) print(`  records: ${countsOf(records) || "none"}`);
  for (const [i, { name, records: ofDisk }] of summary.disks.entries()) {
    if (header) print(`  of these disk ${i}, ${name}: ${countsOf(ofDisk) || "none"}`);
  }
  printTable(
    ["frames", "number", "bytes", "smallest", "largest"],
    frameKinds.map((line) => [line.kind, line.frames, line.bytes, line.smallest, line.largest]),
  );
  if (header) {
    printTable(
      ["records", "number", "bytes before compression"],
      recordKindNames
        .filter((name) => records[name] > 0)
        .map((name) => [name, records[name], recordBytes[name]]),
    );
  }
  printFrames(listed);
  if (frames > listed.length) print(`  … ${frames - listed.length} more frames; --json lists all`);
  if (header && !trailer) print("The trailer is missing: the delta is not complete");
  printPictures(summary);
}

/** Prints frames as a table. */
export function printFrames(listed: readonly FrameLine[]): void {
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

/** Counts of records in one text; empty if there are none. */
export function countsOf(records: RecordCounts): string {
  return recordKindNames
    .filter((name) => records[name] > 0)
    .map((name) => `${name} ${records[name]}`)
    .join(", ");
}

function printPictures({ parts, picture, dirtyPages }: FramesSummary): void {
  if (picture.length === 0) return;
  print(`Pages with a record: ${dirtyPages}`);
  if (parts.length === 0) for (const line of picture) print(`  ${line}`);
  for (const { kind, name, total, marked, picture: ofPart } of parts) {
    const what = kind === "disk" ? `disk ${name}: ${marked} records of ${total} blocks` : "";
    print(what || `${name}: ${marked} of ${total} pages`);
    for (const line of ofPart) print(`  ${line}`);
  }
}

/** Of what begins with no header: nothing at all is a seed's. */
function titleOf({ frames, deviceBytes }: FramesSummary): string {
  if (frames === 0) return "No device state: the generation is a seed, made while its VM ran";
  return deviceBytes > 0 ? "Device state" : "Frames without a header";
}

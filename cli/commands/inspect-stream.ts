/** Prints what a captured migration stream of QEMU is. */

import { formatSize } from "../config/units.ts";
import type { DeviceLine } from "../inspect/device-state.ts";
import type { StreamSummary } from "../inspect/qemu-stream.ts";
import { print, printTable } from "./output.ts";

/** Prints a stream; with `fields` the fields of each device too. */
export function explainStream(summary: StreamSummary, fields: boolean): void {
  print(`QEMU migration stream of a ${summary.machine}, ${formatSize(summary.bytes)}`);
  const { ramSections, sections, commands, subsections, deviceStateBytes, descriptionBytes, devices } =
    summary;
  const names = subsections.map((name) => `, ${name}`).join("");
  const { start, part, end } = sections;
  print(
    `  ${ramSections} RAM sections (${start} start, ${part} part, ${end} end), ${commands} commands${names}`,
  );
  printTable(
    ["RAM block", "bytes", "sent zero", "sent whole", "whole but zero", "different pages", "again", "never"],
    summary.blocks.map(({ id, lengthBytes, zero, whole, wholeOfZeroes, distinct, again, missing }) => [
      id,
      lengthBytes,
      zero,
      whole,
      wholeOfZeroes,
      distinct,
      again,
      missing,
    ]),
  );
  print(`Device state: ${deviceStateBytes} bytes, ${devices.length} devices`);
  if (devices.length === 0) print(`  not described: the stream's description has ${descriptionBytes} bytes`);
  else if (fields) for (const device of devices) printFields(device);
  else {
    printTable(
      ["device", "instance", "version", "from byte", "bytes", "fields"],
      devices.map((device) => [
        device.name,
        device.instanceId,
        device.version,
        device.offset,
        device.bytes,
        device.fields.length,
      ]),
    );
    print("  --fields lists the fields with their values");
  }
  if (summary.fieldsAreCut) print("  … and more devices, with too many fields to list");
}

function printFields({ name, instanceId, version, offset, bytes, fields }: DeviceLine): void {
  print(`${name}, instance ${instanceId}, version ${version}: ${bytes} bytes from byte ${offset}`);
  for (const { path, type, bytes: length, count, hex } of fields) {
    const many = count === 1 ? "" : ` × ${count}`;
    print(`  ${path}: ${type}${many}, ${length} bytes${hex === null || hex === "" ? "" : `, ${hex}`}`);
  }
}

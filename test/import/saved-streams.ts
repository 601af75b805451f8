/** Streams for tests as QEMU saves them to a file, with what may be wrong with them. */

import { writeBe32, writeBe64 } from "../../src/qemu-stream/big-endian.ts";
import {
  encodeBlockName,
  encodeCommand,
  encodeHeader,
  encodeRamEnd,
  encodeRamStart,
  encodeVmDescription,
  PAGE_RECORD_MAX_BYTES,
  RAM_SECTION_BEGIN_BYTES,
  RAM_SECTION_END_BYTES,
  writePage,
  writeRamSectionBegin,
  writeRamSectionEnd,
  writeZeroPage,
} from "../../src/qemu-stream/index.ts";

export const page = 4096;
const section = 2;

/** What a stream has. */
export interface StreamShape {
  readonly machine: string;
  /** Bytes of the main RAM block, which is not the first of the stream. */
  readonly ramBytes: number;
  /** Bytes that the stream says the other RAM block has; only its first page is there. */
  readonly romBytes: number;
  /** Pages of the main RAM block that are left out. */
  readonly missing: readonly number[];
  /** Bytes that are missing at the end. */
  readonly cut: number;
  /** Flags of a record that stands after the pages; 0 for none. */
  readonly flag: number;
  /** A command before the RAM; 0 for none. */
  readonly command: number;
  /** Names of devices that the description tells; they should be texts. */
  readonly devices: readonly unknown[];
}

/** A stream that fits a VM with 1 MiB of memory. */
export const shape: StreamShape = {
  machine: "pc-i440fx-7.2",
  ramBytes: 1 << 20,
  romBytes: page,
  missing: [],
  cut: 0,
  flag: 0,
  command: 0,
  devices: ["timer"],
};

/** Makes the stream: page n of the main memory is full of n, or zero; pages 3 and 4 are sent again. */
export function savedStream(shape: StreamShape): Uint8Array {
  const { machine, ramBytes, romBytes, missing, cut, flag, command, devices } = shape;
  const blocks = [
    { id: "rom", lengthBytes: romBytes },
    { id: "pc.ram", lengthBytes: ramBytes },
  ];
  const [rom, ram] = blocks.map(({ id }) => encodeBlockName(id));
  const pages = ramBytes / page;
  const room = new Uint8Array(
    (pages + 8) * PAGE_RECORD_MAX_BYTES + RAM_SECTION_BEGIN_BYTES + RAM_SECTION_END_BYTES,
  );
  let at = writeRamSectionBegin(room, 0, "part", section);
  at = writePage(room, at, 0, rom, new Uint8Array(page).fill(77), 0);
  for (let i = 0; i < pages; i++) {
    if (missing.includes(i)) continue;
    if (i % 3 === 2) at = writeZeroPage(room, at, i, ram);
    else at = writePage(room, at, i, ram, new Uint8Array(page).fill(i + 1), 0);
  }
  at = writePage(room, at, 3, ram, new Uint8Array(page).fill(33), 0);
  at = writeZeroPage(room, at, 4, ram);
  if (flag !== 0) at = writeBe64(room, at, flag);
  at = writeRamSectionEnd(room, at, section);
  const description = JSON.stringify({ devices: devices.map((name) => ({ name, fields: [] })) });
  const whole = Buffer.concat([
    encodeHeader(machine),
    ...(command === 0 ? [] : [encodeCommand(command, new Uint8Array(2))]),
    encodeRamStart(section, blocks),
    room.subarray(0, at),
    encodeRamEnd(section),
    deviceSection(),
    encodeVmDescription(description),
  ]);
  return whole.subarray(0, whole.length - cut);
}

function deviceSection(): Uint8Array {
  const bytes = new Uint8Array(32);
  bytes[0] = 4;
  writeBe32(bytes, 1, 3);
  return bytes;
}

/** Explains a captured migration stream of QEMU. */

import {
  PAGE_BYTES,
  QemuStreamDecoder,
  type RamBlock,
  type RamSectionKind,
} from "../../src/qemu-stream/index.ts";
import { type OpenFile, readFully, windowBytes } from "../verify/file-window.ts";
import { type DeviceLine, readDeviceFields } from "./device-state.ts";
import { parseVmDescription } from "./vm-description.ts";
import { isZeroPage } from "./zero-page.ts";

/** Pages of one RAM block as the stream has them; a page that was sent twice counts twice. */
export interface BlockLine {
  readonly id: string;
  readonly lengthBytes: number;
  /** Sent as zero: 9 bytes. */
  readonly zero: number;
  /** Sent in full. */
  readonly whole: number;
  /** Sent in full although every byte is zero. */
  readonly wholeOfZeroes: number;
  /** Different pages that were sent. */
  readonly distinct: number;
  /** Times that a page was sent again: it changed while the stream was made. */
  readonly again: number;
  /** Pages that were never sent. */
  readonly missing: number;
}

/** The stream as a whole. */
export interface StreamSummary {
  readonly kind: "qemu-stream";
  readonly bytes: number;
  readonly machine: string | null;
  readonly subsections: readonly string[];
  readonly commands: number;
  /** START, PART and END sections of RAM. */
  readonly ramSections: number;
  /** Sections of RAM by their kind. */
  readonly sections: Readonly<Record<RamSectionKind, number>>;
  readonly blocks: readonly BlockLine[];
  readonly deviceStateBytes: number | null;
  /** Bytes of the stream's own description of the device state. */
  readonly descriptionBytes: number | null;
  /** Devices with their fields, as the description names them. */
  readonly devices: readonly DeviceLine[];
  /** Where device state and description do not fit each other; null if they do. */
  readonly deviceProblem: string | null;
  /** True if there are so many fields that the devices after them are left out. */
  readonly fieldsAreCut: boolean;
}

interface BlockTally {
  readonly block: RamBlock;
  readonly seen: Uint8Array;
  zero: number;
  whole: number;
  wholeOfZeroes: number;
  distinct: number;
}

/** Most RAM of which each page is remembered; a captured stream is never longer in practice. */
const maxRamBytes = 2 ** 40;

/** Reads a stream a window at a time. Throws FormatError if it is none, or not whole. */
export function inspectQemuStream(file: OpenFile): StreamSummary {
  const tallies: BlockTally[] = [];
  const found = {
    machine: null as string | null,
    subsections: [] as string[],
    commands: 0,
    ramSections: 0,
    sections: { start: 0, part: 0, end: 0 },
    deviceStateBytes: null as number | null,
    descriptionBytes: null as number | null,
    devices: [] as readonly DeviceLine[],
    deviceProblem: null as string | null,
    fieldsAreCut: false,
  };
  let state: Uint8Array = new Uint8Array(0);
  const decoder = new QemuStreamDecoder(
    {
      machine: (name) => {
        found.machine = name;
      },
      subsection: ({ name }) => found.subsections.push(name),
      command: () => found.commands++,
      ramSectionBegin: (kind) => {
        found.ramSections++;
        found.sections[kind]++;
      },
      ramBlocks: (blocks) => {
        for (const block of blocks) tallies.push(newTally(block));
      },
      zeroPage: (block, page) => {
        tallies[block].zero++;
        see(tallies[block], page);
      },
      page: (block, page, bytes, at) => {
        tallies[block].whole++;
        if (isZeroPage(bytes, at)) tallies[block].wholeOfZeroes++;
        see(tallies[block], page);
      },
      deviceState: (tail) => {
        found.deviceStateBytes = tail.length;
        state = tail;
      },
      vmDescription: (json) => {
        found.descriptionBytes = json.length;
        const described = parseVmDescription(json);
        // A stream that this program made has none.
        if (described.length === 0) return;
        const { devices, problem, isCut } = readDeviceFields(state, described);
        found.devices = devices;
        found.deviceProblem = problem;
        found.fieldsAreCut = isCut;
      },
    },
    { ramBytes: maxRamBytes },
  );
  const window = new Uint8Array(Math.min(windowBytes, file.size));
  for (let at = 0; at < file.size; at += window.length) {
    const part = window.subarray(0, Math.min(window.length, file.size - at));
    readFully(file, part, at);
    decoder.push(part);
  }
  decoder.finish();
  const blocks = tallies.map(({ block, seen: _seen, ...counts }) => ({
    id: block.id,
    lengthBytes: block.lengthBytes,
    ...counts,
    again: counts.zero + counts.whole - counts.distinct,
    missing: block.lengthBytes / PAGE_BYTES - counts.distinct,
  }));
  return { kind: "qemu-stream", bytes: file.size, ...found, blocks };
}

function newTally(block: RamBlock): BlockTally {
  const seen = new Uint8Array(Math.ceil(block.lengthBytes / PAGE_BYTES / 8));
  return { block, seen, zero: 0, whole: 0, wholeOfZeroes: 0, distinct: 0 };
}

function see(tally: BlockTally, page: number): void {
  const bit = 1 << (page & 7);
  if (tally.seen[page >> 3] & bit) return;
  tally.seen[page >> 3] |= bit;
  tally.distinct++;
}

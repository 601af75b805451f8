/** Says what a frame means in the lines of `frames.md`. */

import { toHex } from "../../src/bytes.ts";
import type { Core } from "../../src/core.ts";
import { DeviceAssembler } from "../../src/delta/device-frames.ts";
import { readDigestFrame } from "../../src/delta/digest-frames.ts";
import { checkFrame } from "../../src/delta/frame.ts";
import { decodeDeltaHeader, decodeDeltaTrailer } from "../../src/delta/header-frame.ts";
import { PageDecoder, type RegionExtent } from "../../src/delta/page-decoder.ts";
import { FrameCodec, FrameKind, recordKindNames } from "../../src/delta/vocabulary.ts";
import { FormatError } from "../../src/errors.ts";
import { naiveApply, naiveCheckFrame, naiveColumns } from "../../src/verify/naive-apply.ts";
import { recordsOf } from "../delta/pages-twin.ts";
import { noise, notationOf } from "./notation.ts";

/** What `frames.md` says of the regions: two of RAM, then a disk. */
const regions: readonly RegionExtent[] = [
  { firstPage: 0, pages: 64 },
  { firstPage: 64, pages: 16 },
  { firstPage: 80, pages: 32, isDisk: true },
];

/** A page of the base: all its bytes are its number. */
export function basePage(page: number): Uint8Array {
  return new Uint8Array(4096).fill(page);
}

/** A decoder of pages frames on that base. */
export function decoderOf(core: Core): PageDecoder {
  return new PageDecoder(core, regions, {
    readBasePage: (page, target) => void core.bytes().fill(page, target, target + 4096),
  });
}

/** Lines by the product's decoders. */
export function describeFrame(core: Core, decoder: PageDecoder, frame: Uint8Array): string[] {
  return orError(() => {
    const header = checkFrame(core, frame);
    const lines = [firstLine(header)];
    if (header.kind === FrameKind.pages) {
      for (const { page, kind, content } of recordsOf(core, decoder.decode(frame))) {
        lines.push(recordLine(page, kind, content));
      }
    } else if (header.kind === FrameKind.header) {
      const { vm, generation, base, totalPages } = decodeDeltaHeader(core, frame);
      lines.push(`vm ${vm}`, `generation ${generation}`, `base ${base.generation} ${base.root}`);
      lines.push(`total-pages ${totalPages}`);
    } else if (header.kind === FrameKind.trailer) {
      const { frames, records, dirty } = decodeDeltaTrailer(core, frame);
      lines.push(`frames ${frames}`, ...recordKindNames.map((name) => `count ${name} ${records[name]}`));
      lines.push(`dirty ${toHex(dirty)}`);
    } else if (header.kind === FrameKind.device) {
      const device = new DeviceAssembler(core, noise(2));
      device.add(frame);
      lines.push(`device ${notationOf(device.take())}`);
    } else {
      readDigestFrame(core, frame, 80, (page, digest) => lines.push(`digest ${page} ${toHex(digest)}`));
    }
    return lines;
  });
}

/** Lines by the naive path, as far as it goes: records of pages, and plain columns of other frames. */
export function describeNaively(frame: Uint8Array): { lines: string[]; columns: Uint8Array | null } {
  let columns: Uint8Array | null = null;
  const lines = orError(() => {
    const header = naiveCheckFrame(frame);
    // The naive way knows stores, and no store has these.
    if (header.codec === FrameCodec.based) return [firstLine(header)];
    columns = naiveColumns(frame, header);
    const records = header.kind === FrameKind.pages ? naiveApply(frame, regions, basePage).records : [];
    return [firstLine(header), ...records.map(({ page, kind, content }) => recordLine(page, kind, content))];
  });
  return { lines, columns };
}

function firstLine(header: ReturnType<typeof checkFrame>): string {
  const nameIn = (names: Readonly<Record<string, number>>, number: number) =>
    Object.keys(names).find((name) => names[name] === number);
  const { kind, codec, region, sequence, records } = header;
  return `frame ${nameIn(FrameKind, kind)} ${nameIn(FrameCodec, codec)} region ${region} sequence ${sequence} records ${records}`;
}

function recordLine(page: number, kind: number, content: Uint8Array): string {
  return `page ${page} ${recordKindNames[kind - 1]} ${notationOf(content)}`;
}

function orError(lines: () => string[]): string[] {
  try {
    return lines();
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    return [`error ${error.code}`];
  }
}

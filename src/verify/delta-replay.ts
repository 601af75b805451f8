/** Reads a delta from its first frame to its last, replays its records, and compares its trailer with them. */

import { bytesEqual } from "../bytes.ts";
import type { Core } from "../core.ts";
import { checkFrame } from "../delta/frame.ts";
import {
  type DeltaHeader,
  type DeltaTrailer,
  decodeDeltaHeader,
  decodeDeltaTrailer,
} from "../delta/header-frame.ts";
import type { DecodedPages } from "../delta/page-decoder.ts";
import { FrameKind, noRecords, type RecordCounts, recordKindNames } from "../delta/vocabulary.ts";
import { FormatError } from "../errors.ts";
import { framesOfInput, type InputFrame } from "./input-frames.ts";
import type { RandomAccess } from "./random-access.ts";

/** What a delta consists of. */
export interface ReplayedDelta {
  readonly header: DeltaHeader;
  readonly trailer: DeltaTrailer;
}

/** What makes contents of pages frames. */
export interface FrameDecoder {
  /** `at` is the frame's position in the file. Throws FormatError. */
  decode(frame: Uint8Array, at: number): DecodedPages | Promise<DecodedPages>;
}

/** What is done with a delta's parts, in their order. */
export interface ReplayVisitor {
  readonly decoder: FrameDecoder | ((header: DeltaHeader) => FrameDecoder);
  /**
   * Page space index of a region's first page, undefined for disks, which the dirty bitmap does not cover; without it
   * that bitmap is not compared.
   */
  readonly firstPageOf?: (region: number) => number | undefined;
  readonly onHeader?: (header: DeltaHeader) => void;
  readonly onPages?: (decoded: DecodedPages) => void | Promise<void>;
  /** Gets the bytes of each frame before anything is made of them. */
  readonly onFrame?: (frame: Uint8Array) => void;
  /** Called after each frame. */
  readonly onBytes?: (bytes: number) => void | Promise<void>;
}

/**
 * Reads a whole delta file. Throws FormatError, with the position in the file, at the first frame that is
 * damaged, out of order, or says something else than what was replayed.
 */
export async function replayDelta(
  core: Core,
  input: RandomAccess,
  visitor: ReplayVisitor,
): Promise<ReplayedDelta> {
  const replay = new Replay(core, visitor);
  for await (const found of framesOfInput(input)) {
    visitor.onFrame?.(found.frame);
    await replay.take(found);
    await visitor.onBytes?.(found.frame.length);
  }
  return replay.end(input.sizeBytes);
}

class Replay {
  private readonly core: Core;
  private readonly visitor: ReplayVisitor;
  private readonly records: RecordCounts = noRecords();
  private header: DeltaHeader | null = null;
  private trailer: DeltaTrailer | null = null;
  private decoder: FrameDecoder | null = null;
  private dirty = new Uint8Array(0);
  private frames = 0;

  constructor(core: Core, visitor: ReplayVisitor) {
    this.core = core;
    this.visitor = visitor;
  }

  async take(found: InputFrame): Promise<void> {
    const { at, header, frame } = found;
    const fail = failAt(header.sequence, at);
    this.frames++;
    if (header.sequence !== this.frames) fail(`${this.frames} is next`);
    if (this.trailer !== null) fail("it stands after the trailer");
    try {
      if (this.header === null) this.takeHeader(frame);
      else if (header.kind === FrameKind.trailer) this.takeTrailer(frame);
      else await this.takePages(frame, at);
    } catch (error) {
      if (!(error instanceof FormatError) || error.offset !== undefined) throw error;
      throw new FormatError(error.code, error.message, at);
    }
  }

  end(size: number): ReplayedDelta {
    if (this.header === null || this.trailer === null) {
      throw new FormatError("truncated", "Cannot use delta: it ends before its trailer", size);
    }
    return { header: this.header, trailer: this.trailer };
  }

  private takeHeader(frame: Uint8Array): void {
    this.header = decodeDeltaHeader(this.core, frame);
    this.visitor.onHeader?.(this.header);
    const { decoder } = this.visitor;
    this.decoder = typeof decoder === "function" ? decoder(this.header) : decoder;
    if (this.visitor.firstPageOf) this.dirty = new Uint8Array(Math.ceil(this.header.totalPages / 8));
  }

  private async takePages(frame: Uint8Array, at: number): Promise<void> {
    const decoded = await (this.decoder as FrameDecoder).decode(frame, at);
    const firstPage = this.visitor.firstPageOf?.(decoded.region);
    for (let i = 0; i < decoded.count; i++) {
      this.records[recordKindNames[decoded.kinds[i] - 1]]++;
      if (firstPage === undefined) continue;
      const page = firstPage + decoded.pages[i];
      this.dirty[page >> 3] |= 1 << (page & 7);
    }
    await this.visitor.onPages?.(decoded);
  }

  private takeTrailer(frame: Uint8Array): void {
    const { sequence } = checkFrame(this.core, frame);
    const fail = failAt(sequence);
    const trailer = decodeDeltaTrailer(this.core, frame);
    const { totalPages } = this.header as DeltaHeader;
    if (trailer.frames !== this.frames) fail(`it counts ${trailer.frames} frames, there are ${this.frames}`);
    for (const name of recordKindNames) {
      const [said, found] = [trailer.records[name], this.records[name]];
      if (said !== found) fail(`it counts ${said} records of kind ${name}, there are ${found}`);
    }
    if (trailer.dirty.length !== Math.ceil(totalPages / 8)) fail("its dirty bitmap has another length");
    if (this.visitor.firstPageOf && !bytesEqual(trailer.dirty, this.dirty)) {
      fail("its dirty bitmap does not name the pages that have records");
    }
    this.trailer = trailer;
  }
}

function failAt(sequence: number, at?: number): (what: string) => never {
  return (what) => {
    throw new FormatError("mismatch", `Cannot accept frame ${sequence} of the delta: ${what}`, at);
  };
}

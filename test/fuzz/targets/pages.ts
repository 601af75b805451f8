/** The decoder of pages frames, for RAM and disks, between guard bytes in the core's memory. */

import { bytesEqual } from "../../../src/bytes.ts";
import { loadCore } from "../../../src/core.ts";
import { framesOf } from "../../../src/delta/frame.ts";
import { type DecodedPages, PageDecoder } from "../../../src/delta/page-decoder.ts";
import { PageEncoder } from "../../../src/delta/page-encoder.ts";
import { FrameKind, frameHeaderBytes, pageBytes, RecordKind } from "../../../src/delta/vocabulary.ts";
import { mutateFrames } from "../mutate-frames.ts";
import { bucket, demand, type Target } from "../target.ts";
import { basePage, extents, pageFrames, ramPages } from "./frame-seeds.ts";

const guardBytes = 64;
const guardByte = 0xa5;

/** Decoding twice gives the same; what was decoded, encoded and decoded again is the same. */
export async function pages(): Promise<Target> {
  const core = await loadCore({ initialBytes: 32 << 20 });
  const guards: number[] = [];
  const guard = () => {
    const at = core.allocate(guardBytes);
    core.bytes().fill(guardByte, at, at + guardBytes);
    guards.push(at);
  };
  const known = new Map<number, Uint8Array>();
  const base = {
    readBasePage: (page: number, target: number) => {
      demand(page >= 0 && page < ramPages + 5000, `page ${page} of the base was asked for`);
      const content = known.get(page) ?? basePage(page);
      if (known.size < 600) known.set(page, content);
      core.bytes().set(content, target);
    },
  };
  guard();
  const decoder = new PageDecoder(core, extents, base);
  guard();
  const encoder = new PageEncoder(core);
  const scratch = core.allocate(2 * pageBytes);
  guard();

  const contentsOf = ({ contents, count }: DecodedPages) =>
    core.bytes().slice(contents, contents + count * pageBytes);
  const encodeAgain = (decoded: DecodedPages, contents: Uint8Array): Uint8Array | null => {
    const { firstPage } = extents[decoded.region];
    for (let i = 0; i < decoded.count; i++) {
      const page = decoded.pages[i];
      const kind = decoded.kinds[i];
      if (kind === RecordKind.same) encoder.same(page);
      else if (kind === RecordKind.zero) encoder.zero(page);
      else {
        core.bytes().set(contents.subarray(i * pageBytes, (i + 1) * pageBytes), scratch);
        base.readBasePage(firstPage + page, scratch + pageBytes);
        // A page that is its base has nothing to be encoded as a change.
        if (core.raw.pagesEqual(scratch, scratch + pageBytes) === 1) encoder.same(page);
        else encoder.content(page, scratch, kind === RecordKind.delta ? scratch + pageBytes : 0);
      }
      if (encoder.full && i + 1 < decoded.count) {
        encoder.seal(decoded.region, 1);
        return null;
      }
    }
    return encoder.seal(decoded.region, decoded.sequence);
  };

  return {
    name: "pages",
    core,
    coreBytesMax: 64 << 20,
    seeds: [...pageFrames(core), ...pageFrames(core, 1, true)],
    mutate: (input, other, random) => mutateFrames(core, input, other, random),
    run: (input) => {
      let seen = "";
      try {
        for (const { header, frame } of framesOf(input)) {
          const decoded = decoder.decode(frame);
          demand(
            header.kind === FrameKind.pages && frame.length >= frameHeaderBytes,
            "another kind was decoded",
          );
          const region = extents[decoded.region];
          const numbers = decoded.pages.slice(0, decoded.count);
          demand(
            numbers.every((page) => page < region.pages),
            "a page lies outside of its region",
          );
          const kinds = decoded.kinds.slice(0, decoded.count);
          demand(!region.isDisk || !kinds.includes(RecordKind.moved), "a block of a disk was moved");
          const contents = contentsOf(decoded);
          demand(bytesEqual(contentsOf(decoder.decode(frame)), contents), "decoding twice gives two results");
          const again = decoded.count === 0 ? null : encodeAgain(decoded, contents);
          if (again !== null) {
            const back = decoder.decode(again);
            demand(bytesEqual(contentsOf(back), contents), "encoded again it has another content");
            demand(
              back.pages.subarray(0, back.count).every((page, i) => page === numbers[i]),
              "pages changed places",
            );
          }
          const counts = [1, 2, 3, 4, 5, 6].map((kind) =>
            Math.min(2, kinds.filter((one) => one === kind).length),
          );
          seen = `${decoded.region} ${counts.join("")} ${bucket(decoded.count)}`;
        }
      } finally {
        const memory = core.bytes();
        for (const at of guards) {
          const isIntact = memory.subarray(at, at + guardBytes).every((byte) => byte === guardByte);
          demand(isIntact, "bytes outside of the decoder's windows were written");
        }
      }
      return seen;
    },
  };
}

/** The zstd decoder of `src/`, against libzstd: what it accepts, libzstd decompresses to the same bytes. */

import { wasmZstd } from "../../../cli/zstd.ts";
import { concatBytes } from "../../../src/bytes.ts";
import { maxPagesPayloadBytes } from "../../../src/delta/vocabulary.ts";
import { decompressZstd } from "../../../src/zstd/decompress.ts";
import { zstdBlocks } from "../../../src/zstd/frame-layout.ts";
import { noise } from "../../core/placing.ts";
import { mutateBytes } from "../mutate-bytes.ts";
import { bucket, demand, type Target } from "../target.ts";

const reference = await wasmZstd();

/** Input: u32 length of the content, then the frame. */
export function zstd(): Target {
  const text = new TextEncoder().encode("region generation page block frame round ".repeat(60));
  const contents = [
    noise(3000, 3, 5),
    noise(700, 4, 2),
    noise(40_000, 6, 3),
    noise(300, 5),
    concatBytes([text, noise(2000, 7, 2), text]),
    new Uint8Array(200_000),
  ];
  return {
    name: "zstd",
    seeds: contents.flatMap((content) =>
      [1, 9, 19].map((level) => {
        const length = new Uint8Array(4);
        new DataView(length.buffer).setUint32(0, content.length, true);
        return concatBytes([length, reference.compress(content, level)]);
      }),
    ),
    mutate: (input, other, random) => mutateBytes(input, other, random, { hotBytes: 64 }),
    run: (input) => {
      if (input.length < 4) return "short";
      const said = new DataView(input.buffer, input.byteOffset).getUint32(0, true);
      const length = said % (maxPagesPayloadBytes + 1);
      const frame = input.slice(4);
      const content = decompressZstd(frame, length);
      demand(content.length === length, "it has another length");
      const other = reference.decompress(frame, length);
      demand(Buffer.compare(content, other) === 0, "libzstd decompresses it to something else");
      const types = zstdBlocks(frame, length).map(({ type }) => type);
      return `${bucket(length)} ${[...new Set(types)].sort().join("")}`;
    },
  };
}

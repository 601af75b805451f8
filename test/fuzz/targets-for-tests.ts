/** Decoders that are broken on purpose: what the oracle and the watch must find. */

import { FormatError } from "../../src/errors.ts";
import { mutateBytes } from "./mutate-bytes.ts";
import { demand, type Target } from "./target.ts";
import type { TargetLoaders } from "./worker.ts";

/** Refuses what does not begin with these bytes, so that chance alone does not get far. */
const magic = Uint8Array.of(0x42, 0x46, 0x46, 0x31);

function decoder(name: string, decode: (input: Uint8Array) => string): () => Promise<Target> {
  return async () => ({
    name,
    seeds: [Uint8Array.of(...magic, 1, 0, 0, 0, 7)],
    mutate: (input, other, random) => mutateBytes(input, other, random),
    run: (input) => {
      if (!magic.every((byte, i) => input[i] === byte)) throw new FormatError("bad-magic", "Cannot read it");
      return decode(input);
    },
  });
}

export const targetLoaders: TargetLoaders = {
  correct: decoder("correct", (input) => `length ${input.length > 9}`),
  /** Trusts a length. */
  "throws-range-error": decoder("throws-range-error", (input) => {
    const length = new DataView(input.buffer).getUint32(4, true);
    return `content ${new Uint8Array(input.buffer, 8, length).length}`;
  }),
  "wrong-result": decoder("wrong-result", (input) => {
    demand(input[8] !== 0xff, "encoded again it is another input");
    return "content";
  }),
  "never-ends": decoder("never-ends", (input) => {
    while (input[4] === 0) input[5] = 1;
    return "content";
  }),
  /** Allocates what the input asks for. */
  "takes-memory": decoder("takes-memory", (input) => {
    const length = new DataView(input.buffer).getUint16(4, true);
    return `content ${new Uint8Array(length << 12).length > 0}`;
  }),
  /** Takes memory that no buffer has. */
  "fills-heap": decoder("fills-heap", (input) => {
    const all: unknown[] = [];
    while (input[4] === 0) all.push([all.length]);
    return `content ${all.length}`;
  }),
};

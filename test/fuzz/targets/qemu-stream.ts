/** QEMU's migration stream: whole, in chunks of any size, and encoded again. */

import { concatBytes } from "../../../src/bytes.ts";
import {
  encodeHeader,
  encodeRamEnd,
  encodeRamStart,
  QemuStreamDecoder,
  StreamReencoder,
} from "../../../src/qemu-stream/index.ts";
import { be32, be64 } from "../../nbd/wire.ts";
import { DESCRIPTION, DEVICE_STATE, lineSink, smallStream } from "../../qemu-stream/events.ts";
import { digestOf } from "../corpus.ts";
import { mutateBytes } from "../mutate-bytes.ts";
import { Random } from "../random.ts";
import { bucket, demand, type Target, utf8 } from "../target.ts";

/** Magic, version, and the machine's name. */
const headerBytes = 24;
const limits = { deviceStateBytes: 1 << 20, vmDescriptionBytes: 1 << 16 };

const tokens = [
  be64(0x10),
  be64(0x02),
  be64(0x08),
  be64(0x22),
  be64(0x28),
  be64(0x1008),
  be64(0x8004),
  be64(0x2040),
  Uint8Array.of(1),
  Uint8Array.of(2, 0, 0, 0, 2),
  Uint8Array.of(3, 0, 0, 0, 2),
  Uint8Array.of(4),
  Uint8Array.of(5),
  Uint8Array.of(0x7e, 0, 0, 0, 2),
  Uint8Array.of(8, 0, 1, 0, 0),
  Uint8Array.of(8, 0, 3, 0, 0),
  Uint8Array.of(0, 6),
  utf8("\u0006pc.ram"),
  utf8("\u0003ram"),
  utf8("QEVM"),
  be32(0x11223344),
  DEVICE_STATE,
  DESCRIPTION,
];

/** The decoder; what it says must not depend on how the bytes are cut. */
export function qemuStream(): Target {
  const whole = new Uint8Array(smallStream());
  const withoutPages = concatBytes([
    encodeHeader("pc-q35-10.0"),
    encodeRamStart(2, [{ id: "pc.ram", lengthBytes: 1 << 20 }]),
    encodeRamEnd(2),
    DEVICE_STATE,
    DESCRIPTION,
  ]);
  return {
    name: "qemu-stream",
    seeds: [whole, withoutPages],
    mutate: (input, other, random) => {
      const mutant = mutateBytes(input, other, random, { tokens, hotBytes: 240, bigEndian: true });
      // The header is refused at once if anything in it changes.
      if (!random.oneIn(8)) mutant.set(input.subarray(0, Math.min(headerBytes, mutant.length)));
      return mutant.slice(0, 1 << 16);
    },
    run: (input) => {
      const inOne = decode(input, [input.length]);
      const random = new Random(digestOf(input));
      const longest = random.pick([1, 9, 300, 5000]);
      const lengths = Array.from({ length: input.length }, () => 1 + random.below(longest));
      const inParts = decode(input, lengths);
      demand(sameSoFar(inOne, inParts), `chunks change what is decoded: ${inOne.text} and ${inParts.text}`);
      if (inOne.error !== undefined) throw inOne.error;
      demand(Buffer.compare(reencoded(input), input) === 0, "encoded again it is another stream");
      return `stream ${bucket(inOne.lines)}`;
    },
  };
}

/**
 * The end of the device state is recognised where a chunk ends (device-tail.ts), so from there on a damaged stream can
 * be refused in several ways. What is accepted is the same however it is cut.
 */
function sameSoFar(one: Decoded, other: Decoded): boolean {
  const mark = "device-state-begins";
  const isCertain = (one.error === undefined && other.error === undefined) || !one.text.includes(mark);
  return isCertain ? one.text === other.text : one.text.split(mark)[0] === other.text.split(mark)[0];
}

interface Decoded {
  readonly text: string;
  readonly error: unknown;
  readonly lines: number;
}

function decode(input: Uint8Array, lengths: readonly number[]): Decoded {
  const lines: string[] = [];
  const decoder = new QemuStreamDecoder(lineSink(lines), limits);
  let error: unknown;
  try {
    let at = 0;
    for (const length of lengths) {
      if (at >= input.length) break;
      decoder.push(input.subarray(at, at + length));
      at += length;
    }
    decoder.finish();
  } catch (thrown) {
    error = thrown;
  }
  return { text: `${lines.join("\n")}\n${String(error)}`, error, lines: lines.length };
}

function reencoded(input: Uint8Array): Uint8Array {
  const parts: Uint8Array[] = [];
  const decoder = new QemuStreamDecoder(new StreamReencoder((bytes) => parts.push(bytes.slice())), limits);
  decoder.push(input);
  return concatBytes(parts);
}

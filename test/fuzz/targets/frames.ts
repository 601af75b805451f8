/** Frames of every kind but pages. An input is a run of frames, as in a file or on the wire. */

import { isDeepStrictEqual } from "node:util";
import { bytesEqual, concatBytes } from "../../../src/bytes.ts";
import { loadCore } from "../../../src/core.ts";
import { DeviceAssembler, encodeDeviceFrames } from "../../../src/delta/device-frames.ts";
import { applyDigestFrame, encodeDigestFrames, readDigestFrame } from "../../../src/delta/digest-frames.ts";
import { checkFrame, framesOf, plainColumns, sealFrame } from "../../../src/delta/frame.ts";
import {
  decodeDeltaHeader,
  decodeDeltaTrailer,
  encodeDeltaHeader,
  encodeDeltaTrailer,
} from "../../../src/delta/header-frame.ts";
import { FrameCodec, FrameKind, frameHeaderBytes, frameLimits } from "../../../src/delta/vocabulary.ts";
import { FormatError } from "../../../src/errors.ts";
import { mutateFrames } from "../mutate-frames.ts";
import { bucket, demand, type Target } from "../target.ts";
import { baseDevice, delta, deviceRuns, digestRuns, pageFrames } from "./frame-seeds.ts";

const core = await loadCore({ initialBytes: 32 << 20 });
const digestPages = 70_000;
const mutate: Target["mutate"] = (input, other, random) => mutateFrames(core, input, other, random);

/** Header, checksum and columns of any frame; what was read is sealed and read again. */
export function anyFrames(): Target {
  return {
    name: "frames",
    core,
    mutate,
    seeds: [
      delta(core),
      concatBytes(pageFrames(core).slice(4, 6)),
      concatBytes(pageFrames(core, 1, true).slice(4, 6)),
      ...deviceRuns(core),
      ...digestRuns(core, 100),
    ],
    run: (input) => {
      const seen = new Set<string>();
      for (const { header, frame } of framesOf(input)) {
        demand(isDeepStrictEqual(checkFrame(core, frame), header), "two decoders of the header disagree");
        const plain = plainColumns(core, frame, header);
        demand(plain.length === header.plainBytes, "the columns have another length than the header says");
        const whole = frame.slice(frameHeaderBytes + header.columnsBytes);
        seen.add(`${header.kind}${header.codec}`);
        // It has whole pages in its columns: no frame of another codec may have so many.
        if (plain.length > frameLimits.columnsBytes && header.codec === FrameCodec.zstd) continue;
        const again = sealFrame(core, header, plain.slice(), whole);
        const back = checkFrame(core, again);
        demand(
          back.kind === header.kind && back.plainBytes === header.plainBytes,
          "sealed again it is another frame",
        );
        demand(bytesEqual(plainColumns(core, again, back), plain), "sealed again it has other columns");
      }
      return [...seen].sort().join(" ");
    },
  };
}

/** Device state is put together; cut into frames and put together again it must be the same. */
export function deviceFrames(): Target {
  return {
    name: "device-frames",
    core,
    mutate,
    seeds: deviceRuns(core),
    run: (input) => {
      const state = assemble(input);
      if (state.length === 0) return "empty";
      demand(
        bytesEqual(assemble(concatBytes(encodeDeviceFrames(core, state, 1))), state),
        "it changes in a round trip",
      );
      const based = concatBytes(encodeDeviceFrames(core, state, 1, baseDevice));
      demand(bytesEqual(assemble(based), state), "it changes in a round trip against the base");
      return `state ${bucket(state.length)}`;
    },
  };
}

function assemble(run: Uint8Array): Uint8Array {
  const assembler = new DeviceAssembler(core, baseDevice);
  for (const { frame } of framesOf(run)) assembler.add(frame);
  return assembler.take();
}

/** Digests are applied twice, and what differs is encoded and applied again. */
export function digestFrames(): Target {
  return {
    name: "digest-frames",
    core,
    mutate,
    seeds: [...digestRuns(core, digestPages), ...digestRuns(core, 100)],
    run: (input) => {
      const small = new Uint8Array(100 * 16);
      let count = 0;
      let isSmall = true;
      for (const { frame } of framesOf(input)) {
        readDigestFrame(core, frame, digestPages, (page, digest) => {
          demand(page >= 0 && page < digestPages && digest.length === 16, `page ${page} does not exist`);
          if (page >= 100) isSmall = false;
          count++;
        });
        if (!isSmall) continue;
        try {
          applyDigestFrame(core, frame, small);
        } catch (error) {
          // A range beyond these few pages, with no digest in it.
          if (!(error instanceof FormatError)) throw error;
        }
      }
      if (!isSmall) return `many ${bucket(count)}`;
      const again = new Uint8Array(small.length);
      for (const frame of encodeDigestFrames(core, again.slice(), small))
        applyDigestFrame(core, frame, again);
      demand(bytesEqual(again, small), "they change in a round trip");
      return `few ${bucket(count)}`;
    },
  };
}

/** Header and trailer; encoded again they say the same. */
export function deltaEnds(): Target {
  return {
    name: "delta-ends",
    core,
    mutate,
    seeds: [...framesOf(delta(core))]
      .filter(({ header }) => header.kind === FrameKind.header || header.kind === FrameKind.trailer)
      .map(({ frame }) => frame.slice()),
    run: (input) => {
      const seen = new Set<string>();
      for (const { header, frame } of framesOf(input)) {
        if (header.kind === FrameKind.trailer) {
          const trailer = decodeDeltaTrailer(core, frame);
          const again = decodeDeltaTrailer(core, encodeDeltaTrailer(core, trailer, 1));
          demand(
            again.frames === trailer.frames && bytesEqual(again.dirty, trailer.dirty),
            "the trailer changes",
          );
          seen.add(`trailer ${bucket(trailer.dirty.length)}`);
        } else {
          const value = decodeDeltaHeader(core, frame);
          const again = decodeDeltaHeader(core, encodeDeltaHeader(core, value, 1));
          demand(again.vm === value.vm && again.base.root === value.base.root, "the header changes");
          seen.add("header");
        }
      }
      return [...seen].sort().join(" ");
    },
  };
}

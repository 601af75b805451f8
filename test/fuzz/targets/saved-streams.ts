/** Streams that QEMU saved: their device state taken apart by their own description, and what `import` makes of them. */

import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { SavedStream } from "../../../cli/import/saved-stream.ts";
import { readDeviceFields } from "../../../cli/inspect/device-state.ts";
import { parseVmDescription } from "../../../cli/inspect/vm-description.ts";
import { beginGeneration } from "../../../cli/store/generation-writer.ts";
import { concatBytes } from "../../../src/bytes.ts";
import { type Core, loadCore } from "../../../src/core.ts";
import { pageBytes } from "../../../src/delta/vocabulary.ts";
import type { Geometry } from "../../../src/generation/geometry.ts";
import { noise } from "../../core/placing.ts";
import { savedStream, shape } from "../../import/saved-streams.ts";
import { described, deviceState as seedState } from "../../inspect/device-sections.ts";
import { be32, be64 } from "../../nbd/wire.ts";
import { mutateBytes } from "../mutate-bytes.ts";
import { mutateJson } from "../mutate-text.ts";
import { bucket, demand, type Target, utf8 } from "../target.ts";
import { workFolder } from "./work-folder.ts";

/** Input: the description, a line break, and the device state. */
export function deviceFields(): Target {
  const seed = (devices: unknown, state: Uint8Array) =>
    concatBytes([utf8(`${JSON.stringify({ page_size: 4096, devices })}\n`), state]);
  return {
    name: "device-fields",
    seeds: [seed(described, seedState), seed([described[0]], seedState), seed(undefined, new Uint8Array(9))],
    mutate: (input, other, random) => {
      const [json, state] = cut(input);
      const both = random.below(3);
      const description = both === 0 ? json : mutateJson(json, cut(other)[0], random);
      const sections = both === 1 ? state : mutateBytes(state, cut(other)[1], random, { bigEndian: true });
      return concatBytes([description, utf8("\n"), sections]);
    },
    run: (input) => {
      const [json, state] = cut(input);
      const description = parseVmDescription(json);
      const { devices, problem, isCut } = readDeviceFields(state, description);
      demand(devices.length <= description.length, "it tells devices that the description does not have");
      let end = 0;
      let fields = 0;
      for (const device of devices) {
        demand(device.offset === end && device.bytes > 0, "a device does not follow the one before it");
        end = device.offset + device.bytes;
        let at = device.offset;
        for (const { offset, bytes, hex } of device.fields) {
          demand(offset >= at && offset + bytes <= end, "a field lies outside of its device");
          demand(hex === null || hex.length === 2 * bytes, "a value has another length");
          at = offset + bytes;
          fields++;
        }
      }
      const isWhole = problem === null && !isCut && devices.length === description.length;
      demand(!isWhole || end === state.length - 1, "bytes are left over, and nothing says so");
      return `${bucket(devices.length)} ${bucket(fields)} ${isCut} ${problem?.replace(/\d+/g, "0").slice(40, 80)}`;
    },
  };
}

function cut(input: Uint8Array): [json: Uint8Array, state: Uint8Array] {
  const at = input.indexOf(0x0a);
  return at < 0 ? [input, new Uint8Array(0)] : [input.slice(0, at), input.slice(at + 1)];
}

const vm = { name: "web1", machine: shape.machine, memoryBytes: 8 * pageBytes };
const tokens = [
  be64(0x10),
  be64(0x02),
  be64(0x08),
  be64(0x22),
  be64(0x28),
  be64(0x1008),
  be64(0x2028),
  be64(2 ** 40),
  be32(2),
  utf8("\u0006pc.ram"),
  utf8("\u0003rom"),
];

/** A whole stream becomes a generation, whose digests are those of its image. */
export async function importedStream(): Promise<Target> {
  const core = await loadCore();
  const generationsPath = join(workFolder(), "generations");
  mkdirSync(generationsPath);
  const small = { ...shape, ramBytes: vm.memoryBytes };
  const key = noise(32, 4);
  let runs = 0;
  return {
    name: "import-stream",
    core,
    seeds: [savedStream(small), savedStream({ ...small, missing: [5], devices: ["kvmclock"] })],
    mutate: (input, other, random) =>
      mutateBytes(input, other, random, { tokens, hotBytes: 160, bigEndian: true }),
    run: async (input) => {
      const target = { vm: vm.name, generation: 1, legId: `import-${runs++}` };
      let geometry: Geometry | null = null;
      const stream = new SavedStream({
        core,
        key,
        vm,
        sizeBytes: input.length,
        begin: (placed) => {
          geometry = placed;
          return beginGeneration(core, generationsPath, target, placed, null);
        },
      });
      try {
        stream.push(input);
        const { writer, parts } = stream.finish();
        demand(geometry !== null, "a whole stream has no RAM");
        demandDigests(core, key, readFileSync(writer.imagePath), parts.digests);
        return `imported ${bucket((geometry as Geometry).totalPages)}`;
      } finally {
        await stream.writer?.discard();
        stream.release();
      }
    },
  };
}

/** Demands that the digests are those of the pages of an image. */
function demandDigests(core: Core, key: Uint8Array, image: Uint8Array, digests: Uint8Array): void {
  demand(image.length / pageBytes === digests.length / 16, "image and digests are of different lengths");
  for (let page = 0; page < image.length / pageBytes; page++) {
    const content = image.subarray(page * pageBytes, (page + 1) * pageBytes);
    const digest = digests.subarray(page * 16, page * 16 + 16);
    demand(Buffer.compare(core.blake3(content, key, 16), digest) === 0, `page ${page} has another digest`);
  }
}

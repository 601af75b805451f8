/** Streams of a real QEMU: decoded in any chunks, damaged, encoded again, reduced and loaded by another QEMU. */

import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import t from "tap";
import { FormatError } from "../../src/errors.ts";
import {
  encodeBlockName,
  encodeHeader,
  encodeRamEnd,
  encodeRamStart,
  encodeVmDescription,
  QemuStreamDecoder,
  type RamBlock,
  StreamReencoder,
  writePage,
  writeRamSectionBegin,
  writeRamSectionEnd,
  writeZeroPage,
} from "../../src/qemu-stream/index.ts";
import { decodeError, piecesOf, randomIntegers } from "./events.ts";
import { captureStream, feedStream, MEMORY_BYTES, Qemu } from "./qemu.ts";

t.setTimeout(300_000);

const RETURN_PATH = ["return-path", "events", "pause-before-switchover"];
const SECTION_ID = 2;
/** Long enough for the firmware to leave something in RAM. */
const FIRMWARE_MS = 1500;

/** The last content of each page and the other parts of a stream, for building another stream from them. */
class Contents {
  machine = "";
  blocks: readonly RamBlock[] = [];
  readonly commands: number[] = [];
  readonly sections: string[] = [];
  /** By block, then by page; undefined is a zero page. */
  readonly pages: Map<number, Uint8Array | undefined>[] = [];
  deviceState = new Uint8Array(0);
  description: Record<string, unknown> = {};

  constructor(chunks: Iterable<Uint8Array>) {
    const decoder = new QemuStreamDecoder({
      machine: (name) => {
        this.machine = name;
      },
      command: (command) => this.commands.push(command),
      ramSectionBegin: (kind) => this.sections.push(kind),
      ramBlocks: (blocks) => {
        this.blocks = blocks;
        for (const _ of blocks) this.pages.push(new Map());
      },
      page: (block, page, bytes, at) => this.pages[block]!.set(page, bytes.slice(at, at + 4096)),
      zeroPage: (block, page) => this.pages[block]!.set(page, undefined),
      deviceState: (tail) => {
        this.deviceState = tail.slice();
      },
      vmDescription: (json) => {
        this.description = JSON.parse(new TextDecoder().decode(json));
      },
    });
    for (const chunk of chunks) decoder.push(chunk);
    decoder.finish();
  }

  /** The same state in the least form that QEMU takes. */
  reduced(): Uint8Array {
    const parts = [encodeHeader(this.machine), encodeRamStart(SECTION_ID, this.blocks)];
    for (const [block, pages] of this.pages.entries()) {
      const target = new Uint8Array(pages.size * 4104 + 300);
      let name: Uint8Array | undefined = encodeBlockName(this.blocks[block]!.id);
      let at = writeRamSectionBegin(target, 0, "part", SECTION_ID);
      for (const [page, bytes] of pages) {
        at = bytes ? writePage(target, at, page, name, bytes, 0) : writeZeroPage(target, at, page, name);
        name = undefined;
      }
      parts.push(target.subarray(0, writeRamSectionEnd(target, at, SECTION_ID)));
    }
    parts.push(encodeRamEnd(SECTION_ID), this.deviceState, encodeVmDescription());
    return Buffer.concat(parts);
  }
}

function reencode(stream: Uint8Array, lengths: Iterable<number>): Buffer {
  const parts: Uint8Array[] = [];
  const decoder = new QemuStreamDecoder(new StreamReencoder((bytes) => parts.push(bytes.slice())));
  for (const piece of piecesOf(stream, lengths)) decoder.push(piece);
  decoder.finish();
  return Buffer.concat(parts);
}

function* randomLengths(seed: number, limit: number): Generator<number> {
  const random = randomIntegers(seed);
  for (;;) yield random(limit) + 1;
}

async function guestMachines(folder: string): Promise<string[]> {
  const probe = await Qemu.start(folder, "probe", "none");
  await probe.stop();
  const machines = ["pc-i440fx-7.2", "pc-q35-7.2"];
  return probe.major < 10 ? machines : [...machines, "pc-i440fx-10.0", "pc-q35-10.0"];
}

const folder = t.testdir();

for (const machine of await guestMachines(folder)) {
  for (const [index, capabilities] of [[], RETURN_PATH].entries()) {
    t.test(`${machine}${index === 0 ? "" : ` with ${capabilities.join(", ")}`}`, async (t) => {
      const name = `${machine}-${index}`;
      const source = await Qemu.start(folder, `${name}-source`, machine);
      t.teardown(() => source.stop());
      await sleep(FIRMWARE_MS);
      const stream = await captureStream(source, `${folder}/${name}.out`, capabilities);
      const contents = new Contents([stream]);

      t.test("has the parts that its capabilities and version say", async (t) => {
        t.equal(contents.machine, machine);
        t.match(contents.blocks[0], { id: "pc.ram", lengthBytes: MEMORY_BYTES });
        const expected = capabilities.includes("return-path") ? [1, 2] : [];
        t.strictSame(contents.commands, machine.endsWith("10.0") ? [...expected, 11] : expected);
        t.equal(contents.sections.at(0), "start");
        t.equal(contents.sections.at(-1), "end");
        for (const { index, lengthBytes } of contents.blocks) {
          t.equal(contents.pages[index]!.size, lengthBytes / 4096, `all pages of block ${index}`);
        }
        t.ok(Array.isArray(contents.description["devices"]));
      });

      t.test("is encoded again byte for byte, whatever the chunks", async (t) => {
        t.ok(reencode(stream, [stream.length]).equals(stream));
        for (const [seed, limit] of [3, 100, 5000, 65536, 1_000_000].entries()) {
          t.ok(reencode(stream, randomLengths(seed, limit)).equals(stream), `chunks of up to ${limit}`);
        }
      });

      t.test("is truncated wherever it is cut", async (t) => {
        const random = randomIntegers(1);
        for (let i = 0; i < 200; i++) {
          const length = i < 100 ? random(stream.length) : stream.length - 1 - random(300_000);
          const error = decodeError(stream.subarray(0, length));
          if (!(error instanceof FormatError) || error.code !== "truncated") t.fail(`${length}: ${error}`);
        }
      });

      t.test("with a flipped bit gives events or a FormatError", async (t) => {
        const random = randomIntegers(2);
        const damaged = stream.slice();
        for (let i = 0; i < 300; i++) {
          const at = i < 150 ? random(400) : random(stream.length);
          const bit = 1 << random(8);
          damaged[at]! ^= bit;
          const error = decodeError(damaged);
          damaged[at]! ^= bit;
          if (error !== undefined && !(error instanceof FormatError)) t.fail(`byte ${at}: ${error}`);
        }
      });

      t.test("reduced, it loads into another QEMU with equal RAM", async (t) => {
        await source.saveMemory(`${folder}/${name}.before`);
        const destination = await Qemu.start(folder, `${name}-to`, machine, ["-S", "-incoming", "defer"]);
        t.teardown(() => destination.stop());
        await feedStream(destination, `${folder}/${name}.in`, contents.reduced());
        await destination.saveMemory(`${folder}/${name}.after`);
        const before = await readFile(`${folder}/${name}.before`);
        const after = await readFile(`${folder}/${name}.after`);
        t.equal(before.length, MEMORY_BYTES);
        t.ok(
          [...contents.pages[0]!.values()].filter((page) => page !== undefined).length > 50,
          "RAM is not empty",
        );
        t.ok(before.equals(after));
        await destination.execute("cont");
        t.match(await destination.execute("query-status"), { running: true });
      });
    });
  }
}

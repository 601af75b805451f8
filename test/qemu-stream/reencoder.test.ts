/** What was decoded is encoded again byte for byte. */

import fc from "fast-check";
import t from "tap";
import {
  encodeBlockName,
  encodeCommand,
  encodeHeader,
  encodeRamStart,
  encodeVmDescription,
  QemuStreamDecoder,
  StreamReencoder,
  writePage,
  writeRamSectionBegin,
  writeRamSectionEnd,
  writeZeroPage,
} from "../../src/qemu-stream/index.ts";
import { DEVICE_STATE, piecesOf, smallStream } from "./events.ts";

function reencode(chunks: Iterable<Uint8Array>): Buffer {
  const parts: Uint8Array[] = [];
  const decoder = new QemuStreamDecoder(new StreamReencoder((bytes) => parts.push(bytes.slice())));
  for (const chunk of chunks) decoder.push(chunk);
  decoder.finish();
  return Buffer.concat(parts);
}

const BLOCK_PAGES = 40;
const BLOCK_IDS = ["pc.ram", "0000:00:02.0/vga.vram", "/rom@etc/acpi/tables", "x"];

const page = fc.record({
  block: fc.nat(BLOCK_IDS.length - 1),
  page: fc.nat(BLOCK_PAGES - 1),
  fill: fc.nat(255),
  named: fc.boolean(),
});
const section = fc.record({ pages: fc.array(page, { maxLength: 100 }), ping: fc.option(fc.nat()) });
const description = fc.dictionary(fc.string(), fc.jsonValue()).map((value) => JSON.stringify(value));

/** Any stream that follows the grammar: where a block is not named, it is the one before. */
function encodeAny(
  sections: { pages: { block: number; page: number; fill: number; named: boolean }[]; ping: number | null }[],
  sectionId: number,
  json: string,
): Uint8Array {
  const blocks = BLOCK_IDS.map((id) => ({ id, lengthBytes: BLOCK_PAGES * 4096 }));
  const parts = [encodeHeader("pc-q35-7.2"), encodeRamStart(sectionId, blocks)];
  const source = new Uint8Array(4096);
  let current = -1;
  for (const [index, { pages, ping }] of sections.entries()) {
    if (ping !== null)
      parts.push(encodeCommand(2, Uint8Array.of(ping >>> 24, ping >>> 16, ping >>> 8, ping)));
    const target = new Uint8Array(pages.length * 4200 + 64);
    let at = writeRamSectionBegin(target, 0, index === sections.length - 1 ? "end" : "part", sectionId);
    for (const { block, page, fill, named } of pages) {
      const name = named || block !== current ? encodeBlockName(BLOCK_IDS[block]!) : undefined;
      current = block;
      at =
        fill === 0
          ? writeZeroPage(target, at, page, name)
          : writePage(target, at, page, name, source.fill(fill), 0);
    }
    parts.push(target.subarray(0, writeRamSectionEnd(target, at, sectionId)));
  }
  parts.push(DEVICE_STATE, encodeVmDescription(json));
  return Buffer.concat(parts);
}

t.test("a small stream with every kind of item is encoded again byte for byte", async (t) => {
  const stream = smallStream();
  t.ok(reencode([stream]).equals(stream));
  t.ok(reencode(Array.from(stream, (byte) => Uint8Array.of(byte))).equals(stream));
});

t.test("any stream in any chunks is encoded again byte for byte", async () => {
  fc.assert(
    fc.property(
      fc.array(section, { minLength: 1, maxLength: 5 }),
      fc.integer({ min: 0, max: 0xffffffff }),
      description,
      fc.infiniteStream(fc.integer({ min: 0, max: 9000 })),
      (sections, sectionId, json, lengths) => {
        const stream = encodeAny(sections, sectionId, json);
        return reencode(piecesOf(stream, lengths)).equals(stream);
      },
    ),
    { numRuns: 200 },
  );
});

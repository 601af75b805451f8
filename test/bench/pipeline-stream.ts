/**
 * A QEMU's migration stream without a QEMU: `node pipeline-stream.js SOCKET MEBIBYTES ZERO_EVERY DIRTY_EVERY` makes the stream
 * in its own memory, says "ready", and at a byte from its input sends it to the socket.
 *
 * Pages are of the node binary, each with its number in it; one in ZERO_EVERY is zero; of the others, one in DIRTY_EVERY has
 * some words of another value (0: none).
 */

import { readFileSync } from "node:fs";
import { connect } from "node:net";
import process from "node:process";
import {
  encodeBlockName,
  encodeHeader,
  encodeRamEnd,
  encodeRamStart,
  encodeVmDescription,
  PAGE_RECORD_MAX_BYTES,
  RAM_SECTION_BEGIN_BYTES,
  RAM_SECTION_END_BYTES,
  writePage,
  writeRamSectionBegin,
  writeRamSectionEnd,
  writeZeroPage,
} from "../../src/qemu-stream/encoder.ts";

const pageBytes = 4096;
const pagesPerPart = 8192;
const sectionId = 2;
const dirtyWords = 4;
const deviceBytes = 100_000;
const sliceBytes = 64 << 20;

const [socketPath = "", ...numbers] = process.argv.slice(2);
const [mebibytes = 0, zeroEvery = 0, dirtyEvery = 0] = numbers.map(Number);
const stream = makeStream((mebibytes << 20) / pageBytes);
process.stdout.write("ready\n");
process.stdin.once("data", () => {
  const socket = connect(socketPath, () => {
    for (let at = 0; at < stream.length; at += sliceBytes) socket.write(stream.subarray(at, at + sliceBytes));
    socket.end();
  });
  socket.resume();
  process.stdin.destroy();
});

function makeStream(pages: number): Uint8Array {
  const parts = Math.ceil(pages / pagesPerPart);
  const sections = parts * (RAM_SECTION_BEGIN_BYTES + RAM_SECTION_END_BYTES + PAGE_RECORD_MAX_BYTES);
  const bytes = new Uint8Array(pages * (pageBytes + 8) + sections + 2 * deviceBytes);
  const binary = readFileSync(process.execPath);
  const name = encodeBlockName("pc.ram");
  const content = new Uint8Array(pageBytes);
  const words = new Uint32Array(content.buffer);
  let at = 0;
  const put = (some: Uint8Array) => {
    bytes.set(some, at);
    at += some.length;
  };
  put(encodeHeader("pc-i440fx-7.2"));
  put(encodeRamStart(sectionId, [{ id: "pc.ram", lengthBytes: pages * pageBytes }]));
  for (let page = 0; page < pages; page++) {
    const place = page % pagesPerPart;
    if (place === 0) at = writeRamSectionBegin(bytes, at, "part", sectionId);
    const block = place === 0 ? name : undefined;
    if (zeroEvery > 0 && page % zeroEvery === 0) at = writeZeroPage(bytes, at, page, block);
    else {
      const from = (page * pageBytes) % (binary.length - pageBytes);
      content.set(binary.subarray(from, from + pageBytes));
      words[0] = page + 1;
      if (dirtyEvery > 0 && page % dirtyEvery === 1) {
        for (let i = 1; i <= dirtyWords; i++) words[i * 200] = (words[i * 200]! ^ (page * i + 0x5a5a)) >>> 0;
      }
      at = writePage(bytes, at, page, block, content, 0);
    }
    if (place === pagesPerPart - 1 || page === pages - 1) at = writeRamSectionEnd(bytes, at, sectionId);
  }
  put(encodeRamEnd(sectionId));
  // A device section and the end of the file, as far as a decoder that takes them for opaque can tell.
  const device = new Uint8Array(deviceBytes).fill(1);
  device[0] = 4;
  device[deviceBytes - 1] = 0;
  put(device);
  put(encodeVmDescription());
  return bytes.subarray(0, at);
}

/** The encoder's bytes, and what it refuses to encode. */

import t from "tap";
import {
  encodeBlockName,
  encodeCommand,
  encodeHeader,
  encodeRamEnd,
  encodeRamStart,
  encodeVmDescription,
  PAGE_RECORD_MAX_BYTES,
  RAM_SECTION_BEGIN_BYTES,
  RAM_SECTION_END_BYTES,
  writePage,
  writePageHeader,
  writeRamSectionBegin,
  writeRamSectionEnd,
  writeZeroPage,
} from "../../src/qemu-stream/index.ts";
import { bytesOf } from "./events.ts";

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");
const notation = (text: string) => hex(bytesOf(text));

t.test("a header is magic, version, machine type and subsections", async (t) => {
  t.equal(hex(encodeHeader("pc")), notation('"QEVM" 00000003 07 00000002 "pc"'));
  const bits = { name: "configuration/target-page-bits", version: 1, body: bytesOf("0000000c") };
  t.equal(
    hex(encodeHeader("pc", [bits])),
    notation('"QEVM" 00000003 07 00000002 "pc" 05 1e "configuration/target-page-bits" 00000001 0000000c'),
  );
});

t.test("a command has its number and its data's length", async (t) => {
  t.equal(hex(encodeCommand(1)), "0800010000");
  t.equal(hex(encodeCommand(2, bytesOf("00000007"))), "080002000400000007");
  t.throws(() => encodeCommand(2, new Uint8Array(65536)), RangeError);
});

t.test("the start of RAM lists the blocks and their total", async (t) => {
  const blocks = [
    { id: "pc.ram", lengthBytes: 5 * 2 ** 32 },
    { id: "rom", lengthBytes: 4096 },
  ];
  t.equal(
    hex(encodeRamStart(2, blocks)),
    notation(`01 00000002 03 "ram" 00000000 00000004 0000000500001004
      06 "pc.ram" 0000000500000000 03 "rom" 0000000000001000 0000000000000010 7e 00000002`),
  );
});

t.test("an empty end of RAM is its end record and footer", async (t) => {
  t.equal(hex(encodeRamEnd(0x0a0b0c0d)), notation("03 0a0b0c0d 0000000000000010 7e 0a0b0c0d"));
});

t.test("a description is its length and text", async (t) => {
  t.equal(hex(encodeVmDescription()), notation('06 00000002 "{}"'));
  t.equal(hex(encodeVmDescription('{"é":1}')), notation("06 00000008 7b22c3a9 22 3a 31 7d"));
});

t.test("page records carry the page's offset, and its block's name unless they continue", async (t) => {
  const target = new Uint8Array(2 * PAGE_RECORD_MAX_BYTES);
  const name = encodeBlockName("pc.ram");
  const source = new Uint8Array(3 * 4096).fill(0x11).fill(0x22, 4096, 8192);
  let at = writeRamSectionBegin(target, 1, "part", 2);
  t.equal(at, 1 + RAM_SECTION_BEGIN_BYTES);
  at = writePage(target, at, 0x12345678, name, source, 4096);
  at = writeZeroPage(target, at, 0x10_0000, undefined);
  const end = writeRamSectionEnd(target, at, 2);
  t.equal(end, at + RAM_SECTION_END_BYTES);
  t.equal(
    hex(target.subarray(0, end)),
    notation(`00 02 00000002 0000012345678008 06 "pc.ram" 22*4096 0000000100000022 00
      0000000000000010 7e 00000002`),
  );
});

t.test("a page's header can be written without its contents", async (t) => {
  const target = new Uint8Array(64);
  t.equal(writePageHeader(target, 0, 1, undefined), 8);
  t.equal(hex(target.subarray(0, 8)), "0000000000001028");
});

t.test("what cannot stand in a stream is a caller's mistake", async (t) => {
  t.throws(() => encodeHeader(""), RangeError);
  t.throws(() => encodeHeader("é"), RangeError);
  t.throws(() => encodeBlockName("a".repeat(256)), RangeError);
  t.throws(() => encodeRamStart(2, []), RangeError);
  t.throws(() => encodeRamStart(2, [{ id: "a", lengthBytes: 4097 }]), RangeError);
  t.throws(() => encodeRamStart(2, [{ id: "a", lengthBytes: 0 }]), RangeError);
});

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { inspectCommand } from "../../cli/commands/inspect.ts";
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
  writeRamSectionBegin,
  writeRamSectionEnd,
  writeZeroPage,
} from "../../src/qemu-stream/index.ts";
import { ModelStore, page } from "../store/model-store.ts";
import { runInTest } from "../verify/command-output.ts";

t.test("a delta: its generations, frames, records, and a picture of its pages", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const [, second] = await model.addChain(1);
  const path = join(second.directory, "delta");
  const { lines, code } = await runInTest(t, inspectCommand(), path);
  t.equal(code, 0);
  t.match(lines[0], /^Delta of web1: generation 1 to 2, 47 pages/);
  t.match(lines.at(-1), /^ {2}[·█]{47}$/);
  const json = (await runInTest(t, inspectCommand(), "--json", path)).lines.map((line) => JSON.parse(line));
  t.strictSame(
    json.slice(0, -1).map(({ event, kind }) => `${event} ${kind}`),
    ["frame header", "frame pages", "frame trailer"],
  );
  t.match(json.at(-1), { event: "done", kind: "frames", frames: 3, records: second.manifest.records });
});

t.test("a damaged delta: the frames before, then the error with its place", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const [, second] = await model.addChain(1);
  const path = join(second.directory, "delta");
  const bytes = readFileSync(path);
  bytes[400] ^= 1;
  writeFileSync(path, bytes);
  const { lines, diagnostics, code } = await runInTest(t, inspectCommand(), path);
  t.equal(code, 1);
  t.ok(lines.some((line) => line.includes("header")));
  t.match(diagnostics, /Cannot accept frame 2: its checksum does not match \(at byte \d+\)/);
});

t.test("the other files of a generation", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const [first, second] = await model.addChain(1);
  const first0 = async (folder: string, name: string) =>
    (await runInTest(t, inspectCommand(), join(folder, name))).lines;
  t.match(await first0(first.directory, "manifest.json"), [/^Manifest of generation 1 of web1, format 1/]);
  t.match(await first0(first.directory, "ram.img"), [
    /^Complete image of generation 1 of web1/,
    /^pc.ram: 40 pages from byte 0, 26 not zero/,
  ]);
  t.match(await first0(second.directory, "ram.img"), [/^Overlay image/]);
  t.match(await first0(second.directory, "digests"), [
    /^Page digests/,
    /^pc.ram/,
    /^vga.vram: 7 pages from byte 640/,
  ]);
  t.match(await first0(second.directory, "device"), [/^Device state/]);
});

t.test("a captured stream: machine, blocks, device state and devices", async (t) => {
  const path = join(t.testdir(), "stream");
  const blocks = [
    { id: "pc.ram", lengthBytes: 8 * page },
    { id: "rom", lengthBytes: page },
  ];
  const room = new Uint8Array(RAM_SECTION_BEGIN_BYTES + 5 * PAGE_RECORD_MAX_BYTES + RAM_SECTION_END_BYTES);
  const name = encodeBlockName(blocks[0].id);
  let end = writeRamSectionBegin(room, 0, "part", 2);
  end = writePage(room, end, 3, name, new Uint8Array(page).fill(7), 0);
  end = writePage(room, end, 3, name, new Uint8Array(page), 0);
  end = writeZeroPage(room, end, 4, name);
  end = writeRamSectionEnd(room, end, 2);
  const devices = '{"devices":[{"name":"timer"},{"name":"cpu"}]}';
  const parts = [
    encodeHeader("pc-i440fx-7.2"),
    encodeCommand(1),
    encodeRamStart(2, blocks),
    room.subarray(0, end),
    encodeRamEnd(2),
    Uint8Array.of(0),
    encodeVmDescription(devices),
  ];
  writeFileSync(path, Buffer.concat(parts));
  const { lines } = await runInTest(t, inspectCommand(), "--json", path);
  t.match(JSON.parse(lines[0]), {
    event: "done",
    kind: "qemu-stream",
    machine: "pc-i440fx-7.2",
    ramSections: 3,
    blocks: [
      { id: "pc.ram", zero: 1, whole: 2, wholeOfZeroes: 1, distinct: 2 },
      { id: "rom", distinct: 0 },
    ],
    deviceStateBytes: 1,
    devices: ["timer", "cpu"],
  });
  t.match((await runInTest(t, inspectCommand(), path)).lines.at(-1), /timer, cpu/);
  writeFileSync(path, Buffer.concat(parts.slice(0, -1)));
  t.match(await runInTest(t, inspectCommand(), path), {
    code: 1,
    diagnostics: /Cannot decode the QEMU stream/,
  });
});

t.test("anything else is wrong use", async (t) => {
  const folder = t.testdir({ text: "some text", empty: "" });
  for (const name of ["text", "empty", "missing", "."]) {
    const { code, diagnostics } = await runInTest(t, inspectCommand(), join(folder, name));
    t.match(diagnostics, /Cannot inspect/, name);
    t.equal(code, 2, name);
  }
});

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
import { described, deviceState } from "./device-sections.ts";

t.test("a delta: its generations, frames, records, and a picture of its pages", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const [, second] = await model.addChain(1);
  const path = join(second.directory, "delta");
  const { lines, code } = await runInTest(t, inspectCommand(), path);
  t.equal(code, 0);
  t.match(lines[0], /^Delta of web1: generation 1 to 2, 47 pages/);
  const pictures = lines.slice(lines.findIndex((line) => line.startsWith("Pages with a record")) + 1);
  t.match(pictures, [
    /^pc.ram: \d+ of 40 pages$/,
    /^ {2}[·█]{40}$/,
    /^vga.vram: \d+ of 7 pages$/,
    /^ {2}[·█]{7}$/,
  ]);
  const json = (await runInTest(t, inspectCommand(), "--json", path)).lines.map((line) => JSON.parse(line));
  t.strictSame(
    json.slice(0, -1).map(({ event, kind }) => `${event} ${kind}`),
    ["frame header", "frame pages", "frame trailer"],
  );
  const done = json.at(-1);
  t.match(done, { event: "done", kind: "frames", frames: 3, records: second.manifest.records });
  t.equal(
    done.frameKinds.reduce((sum: number, { bytes }: { bytes: number }) => sum + bytes, 0),
    done.bytes,
    "the kinds of frames make up the file",
  );
  const pagesFrame = json.find(({ kind }) => kind === "pages");
  const held = Object.values<number>(done.recordBytes).reduce((sum, bytes) => sum + bytes, 0);
  t.equal(held, pagesFrame.plainBytes - 16 + pagesFrame.wholeBytes, "and the records the frame's content");
});

t.test("a name that would steer the terminal is shown without that", async (t) => {
  const regions = [{ name: "\u001b[2Jpc\u009bram", kind: "ram", lengthBytes: page }] as const;
  const model = await ModelStore.create(t.testdir(), "web1", regions);
  const [first] = await model.addChain(0);
  const { lines } = await runInTest(t, inspectCommand(), join(first.directory, "manifest.json"));
  t.match(lines.join("\n"), "?[2Jpc?ram");
  for (const steering of ["\u001b", "\u009b"]) t.notOk(lines.join("\n").includes(steering));
});

t.test("a delta by itself: one picture of the page space", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const [, second] = await model.addChain(1);
  const path = join(t.testdirName, "delta");
  writeFileSync(path, readFileSync(join(second.directory, "delta")));
  t.match((await runInTest(t, inspectCommand(), path)).lines.at(-1), /^ {2}[·█]{47}$/);
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
  const seed = await model.add(new Uint8Array(model.memoryBytes), null, null);
  t.match(await first0(seed.directory, "device"), [/^No device state: the generation is a seed/]);
  const complete = join(first.directory, "device");
  writeFileSync(complete, "");
  t.match(await runInTest(t, inspectCommand(), complete), { code: 2 }, "it has one, and this is not it");
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
  const parts = [
    encodeHeader("pc-i440fx-7.2"),
    encodeCommand(1),
    encodeRamStart(2, blocks),
    room.subarray(0, end),
    encodeRamEnd(2),
    deviceState,
    encodeVmDescription(JSON.stringify({ page_size: 4096, devices: described })),
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
    sections: { start: 1, part: 1, end: 1 },
    deviceStateBytes: deviceState.length,
    devices: [
      { name: "timer", version: 2, fields: [{ path: "ticks", type: "int64", hex: "0000000000000007" }] },
      { name: "cpu" },
    ],
    deviceProblem: null,
  });
  const table = (await runInTest(t, inspectCommand(), path)).lines;
  t.ok(
    table.some((line) => /^timer +0 +2 +0 +\d+ +1 *$/.test(line)),
    "a table of the devices",
  );
  t.match(
    (await runInTest(t, inspectCommand(), "--fields", path)).lines.join("\n"),
    /\n {2}ticks: int64, 8 bytes, 0000000000000007\n/,
  );
  t.strictSame(
    JSON.parse(lines[0]).blocks.map(({ again, missing }: { again: number; missing: number }) => [
      again,
      missing,
    ]),
    [
      [1, 6],
      [0, 1],
    ],
  );
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

import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { deflateRawSync } from "node:zlib";
import t from "tap";
import { bootImage, fillPage, guestCode } from "../../cli/demo/guest.ts";

t.test("the machine code is what guest.s assembles to", (t) => {
  const folder = t.testdir();
  const source = join(process.cwd(), "cli", "demo", "guest.s");
  const [object, linked, binary] = ["guest.o", "guest.elf", "guest.bin"].map((name) => join(folder, name));
  if (spawnSync("as", ["--version"]).error !== undefined) {
    t.fail("Cannot assemble guest.s: the program `as` is missing; install binutils");
    return t.end();
  }
  for (const [program, ...args] of [
    ["as", "--32", source, "-o", object!],
    ["ld", "-m", "elf_i386", "-Ttext=0x7c00", "-o", linked!, object!],
    ["objcopy", "-O", "binary", "-j", ".text", linked!, binary!],
  ] as const) {
    const result = spawnSync(program, args, { encoding: "utf8" });
    t.equal(result.status, 0, `${program} succeeds: ${result.stderr}`);
  }
  const assembled = readFileSync(binary!);
  const code = guestCode();
  t.equal(assembled.length % 512, 0, "whole sectors");
  t.same(assembled.subarray(0, code.length), Buffer.from(code), "same code");
  t.ok(
    assembled.subarray(code.length).every((byte) => byte === 0),
    "nothing but padding after it",
  );
  t.end();
});

t.test("the image is a bootable floppy with the parameters in it", (t) => {
  const image = bootImage({
    fillBytes: 2 ** 20,
    workingSetBytes: 8192,
    dirtyPagesPerTick: 3,
    seed: 0xdeadbeef,
  });
  const view = new DataView(image.buffer);
  t.equal(image.length, 1_474_560);
  t.equal(view.getUint16(510, true), 0xaa55);
  t.same(
    [8, 12, 16, 20, 24, 28].map((offset) => view.getUint32(offset, true)),
    [0xdeadbeef, 256, 2, 3, 1024, 0xffffffff],
  );
  t.end();
});

t.test("impossible options are refused", (t) => {
  const good = { fillBytes: 8192, workingSetBytes: 4096, dirtyPagesPerTick: 1 };
  for (const bad of [
    { fillBytes: 8191 },
    { fillBytes: -4096 },
    { fillBytes: 3 * 1024 ** 3 },
    { workingSetBytes: 12288 },
    { workingSetBytes: 1 },
    { workingSetBytes: 0 },
    { dirtyPagesPerTick: -1 },
    { dirtyPagesPerTick: 0.5 },
  ]) {
    t.throws(() => bootImage({ ...good, ...bad }), RangeError, JSON.stringify(bad));
  }
  t.end();
});

t.test("pages hardly compress and differ by number and by seed", (t) => {
  const pages = [fillPage(256, 1), fillPage(257, 1), fillPage(256, 2), fillPage(0, 0)];
  for (const [index, page] of pages.entries()) {
    t.equal(page.length, 4096);
    t.ok(deflateRawSync(page, { level: 9 }).length > 4000, `page ${index} does not compress`);
    for (const other of pages.slice(index + 1)) t.notSame(Buffer.from(page), Buffer.from(other));
  }
  t.same(Buffer.from(fillPage(256, 1)), Buffer.from(pages[0]!), "the same each time");
  t.end();
});

t.test("mixed pages compress by their repetition and by their bytes' entropy", (t) => {
  const page = Buffer.from(fillPage(256, 1, "mixed"));
  t.ok(page.subarray(0, 2048).equals(page.subarray(2048)), "half of a page is the other half");
  const deflated = deflateRawSync(page, { level: 1 }).length;
  t.ok(deflated > 4096 / 4 && deflated < 4096 / 2.5, `${deflated} bytes of a page are left`);
  t.notSame(page, Buffer.from(fillPage(256, 1)));
  t.end();
});

import t from "tap";
import { cpioArchive } from "../../../cli/experiments/guest/cpio.ts";

/** A reader that knows nothing but the format. */
function readArchive(archive: Buffer): { name: string; mode: number; content: string }[] {
  const entries: { name: string; mode: number; content: string }[] = [];
  const aligned = (offset: number) => Math.ceil(offset / 4) * 4;
  for (let at = 0; ; ) {
    const header = archive.toString("latin1", at, at + 110);
    if (!header.startsWith("070701")) throw new Error(`no header at ${at}`);
    const field = (index: number) => Number.parseInt(header.slice(6 + 8 * index, 14 + 8 * index), 16);
    const nameEnd = at + 110 + field(11);
    const name = archive.toString("latin1", at + 110, nameEnd - 1);
    if (archive[nameEnd - 1] !== 0) throw new Error(`the name ${name} has no end`);
    if (name === "TRAILER!!!") return entries;
    const begin = aligned(nameEnd);
    const end = begin + field(6);
    entries.push({ name, mode: field(1), content: archive.toString("latin1", begin, end) });
    at = aligned(end);
  }
}

t.test("an archive has its folders and files", async (t) => {
  const contents = ["", "a", "ab", "abc", "abcd", "x".repeat(1000)];
  const files = contents.map((content, i) => ({
    path: `bin/${"n".repeat(i)}file`,
    content: Buffer.from(content),
  }));
  const archive = cpioArchive([{ path: "bin", content: null }, ...files]);
  t.equal(archive.length % 512, 0);
  t.strictSame(readArchive(archive), [
    { name: "bin", mode: 0o040755, content: "" },
    ...files.map(({ path, content }) => ({ name: path, mode: 0o100755, content: content.toString() })),
  ]);
});

t.test("the same content gives the same archive", async (t) => {
  const entries = [{ path: "init", content: Buffer.from("#!/bin/sh\n") }];
  t.ok(cpioArchive(entries).equals(cpioArchive(entries)));
  t.strictSame(readArchive(cpioArchive([])), []);
});

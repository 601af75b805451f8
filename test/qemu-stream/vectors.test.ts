/** The vectors of `test/vectors/qemu-stream.md`: bytes in, events out. */

import { readFileSync } from "node:fs";
import t from "tap";
import { FormatError } from "../../src/errors.ts";
import { QemuStreamDecoder } from "../../src/qemu-stream/index.ts";
import { bytesOf, lineSink } from "./events.ts";

const VECTOR = /^## (.+)\n\n```bytes\n([\s\S]*?)```\n\n```events\n([\s\S]*?)```$/gm;
const document = readFileSync("test/vectors/qemu-stream.md", "utf8");
const vectors = [...document.matchAll(VECTOR)];

t.equal(vectors.length, document.match(/^## /gm)!.length, "every section of the document is a vector");

for (const [, name, notation, events] of vectors) {
  t.test(name!, async (t) => {
    const bytes = bytesOf(notation!);
    for (const chunkBytes of [bytes.length, 1]) {
      const lines: string[] = [];
      const decoder = new QemuStreamDecoder(lineSink(lines));
      try {
        for (let at = 0; at < bytes.length; at += chunkBytes)
          decoder.push(bytes.subarray(at, at + chunkBytes));
        lines.push(`state ${decoder.state}`);
      } catch (error) {
        if (!(error instanceof FormatError)) throw error;
        lines.push(`error ${error.code}`);
      }
      t.strictSame(lines, events!.trimEnd().split("\n"), `in chunks of ${chunkBytes}`);
    }
  });
}

/** Reads the documents of this folder: sections with bytes and what they say, in the notation of notation.md. */

import { readFileSync } from "node:fs";
import { naiveBlake3 } from "../../src/verify/naive-blake3.ts";
import { bytesOf as plainBytesOf } from "../qemu-stream/events.ts";

/** A section of a document. */
export interface Vector {
  readonly name: string;
  readonly bytes: Uint8Array;
  /** What the bytes say, line by line. */
  readonly values: readonly string[];
}

const pageBytes = 4096;
const shortestRun = 8;
const section =
  /^## (.+)\n\n(?:(?!```|#)[^\n]+\n+)*```(bytes|text)\n([\s\S]*?)```\n\n```values\n([\s\S]*?)```$/gm;

/** The vectors of a document in this folder. Throws Error if a section is not one. */
export function vectorsIn(name: string): Vector[] {
  const document = readFileSync(`test/vectors/${name}`, "utf8");
  const found = [...document.matchAll(section)].map(([, name, form, content, values]) => ({
    name,
    bytes: form === "text" ? new TextEncoder().encode(content) : bytesOf(content),
    values: values.trimEnd().split("\n"),
  }));
  const headings = document.match(/^## /gm)?.length ?? 0;
  if (found.length === 0 || found.length !== headings) {
    throw new Error(
      `Cannot read ${name}: ${headings} sections, ${found.length} of them in the form of vectors`,
    );
  }
  return found;
}

/** The bytes of a notation. */
export function bytesOf(notation: string): Uint8Array {
  const spelled = notation.replace(/\bnoise\((\d+)\)/g, (_, seed) =>
    Buffer.from(noise(Number(seed))).toString("hex"),
  );
  return new Uint8Array(plainBytesOf(spelled));
}

/** `noise(seed)`: a page of the BLAKE3 digests of the texts "seed 0", "seed 1" and so on. */
export function noise(seed: number): Uint8Array {
  const bytes = new Uint8Array(pageBytes);
  for (let i = 0; i < pageBytes / 32; i++)
    bytes.set(naiveBlake3(new TextEncoder().encode(`${seed} ${i}`)), i * 32);
  return bytes;
}

const knownNoise = Array.from({ length: 10 }, (_, seed) => Buffer.from(noise(seed)));

/** The notation of bytes, with runs of 8 and more, and pages of noise, written in short. */
export function notationOf(bytes: Uint8Array): string {
  const tokens: string[] = [];
  let digits = "";
  const endDigits = () => {
    if (digits !== "") tokens.push(digits);
    digits = "";
  };
  for (let at = 0; at < bytes.length; ) {
    const seed = knownNoise.findIndex((page) => page.equals(bytes.subarray(at, at + pageBytes)));
    let run = 1;
    while (at + run < bytes.length && bytes[at + run] === bytes[at]) run++;
    const byte = bytes[at].toString(16).padStart(2, "0");
    if (seed < 0 && run < shortestRun) {
      digits += byte;
      at++;
      continue;
    }
    endDigits();
    tokens.push(seed < 0 ? `${byte}*${run}` : `noise(${seed})`);
    at += seed < 0 ? run : pageBytes;
  }
  endDigits();
  return tokens.join(" ");
}

/** Disk images read and compared by QEMU's own programs. */

import { execFile } from "node:child_process";
import { open, readFile, rm, stat } from "node:fs/promises";
import { promisify } from "node:util";
import { openContent } from "../../cli/disk/image-content.ts";
import type { ImageStore } from "../../cli/disk/image-store.ts";
import { loadCore } from "../../src/core.ts";

const run = promisify(execFile);
const BLOCK = 4096;
const pieceBytes = 1 << 20;

/** An image as `query-block` shows it. */
interface ShownImage {
  readonly filename: string;
  readonly format: string;
  readonly "virtual-size": number;
  readonly "full-backing-filename"?: string;
  readonly "backing-image"?: ShownImage;
}

/** A medium as `query-block` shows it. */
export interface Inserted {
  /** Path of the image's file, where QEMU's text for a long chain is cut off. */
  readonly topFile?: string;
  readonly "node-name": string;
  readonly image: ShownImage;
}

/** Runs qemu-img. Throws with what it says. */
export async function runQemuImg(args: readonly string[]): Promise<string> {
  return (await run("qemu-img", [...args])).stdout;
}

/** Runs qemu-io on a file. Throws if it says that anything failed. */
export async function runQemuIo(args: readonly string[]): Promise<void> {
  const { stdout, stderr } = await run("qemu-io", [...args]);
  if (/fail|error|invalid|not found/i.test(stdout + stderr)) throw new Error(stdout + stderr);
}

/**
 * The chain of images under a disk, as QEMU has it open and whatever their headers say, as QEMU's programs take it.
 * What QEMU has not flushed is not seen through it.
 */
export function flushed({ image, topFile }: Inserted): string {
  return `json:${JSON.stringify(node(image, topFile))}`;
}

/** Writes a chain's content to a raw file. */
export async function writeRaw(chain: string, path: string): Promise<void> {
  await runQemuImg(["convert", "-U", "-O", "raw", chain, path]);
}

/** Bytes of a disk, in multiples of 512; `path` names a file to use for it. */
export async function readRange(chain: string, offset: number, size: number, path: string): Promise<Buffer> {
  const file = JSON.parse(chain.slice("json:".length)) as object;
  await writeRaw(`json:${JSON.stringify({ driver: "raw", offset, size, file })}`, path);
  const bytes = await readFile(path);
  await rm(path);
  return bytes;
}

/** Bytes of a raw file. */
export async function readFileRange(path: string, offset: number, length: number): Promise<Buffer> {
  const file = await open(path);
  try {
    if ((await stat(path)).size < offset + length) throw new Error(`${path} ends before ${offset + length}`);
    const { buffer } = await file.read(Buffer.alloc(length), 0, length, offset);
    return buffer;
  } finally {
    await file.close();
  }
}

/** A number as qemu-io takes it, with its unit. */
export function bytesIn(text: string): number {
  const found = /^(\d+)([kMG]?)$/.exec(text);
  if (!found) throw new Error(`${text} is no number of bytes`);
  return Number(found[1]) * { "": 1, k: 1 << 10, M: 1 << 20, G: 1 << 30 }[found[2] as "" | "k" | "M" | "G"];
}

/** Blocks in which two raw files differ, as a short text; empty if there are none. */
export async function differentBlocks(one: string, other: string): Promise<string> {
  const files = [await open(one), await open(other)] as const;
  try {
    const [length, otherLength] = [(await files[0].stat()).size, (await files[1].stat()).size];
    if (length !== otherLength) return `${length} bytes, ${otherLength} expected`;
    const [a, b] = [Buffer.alloc(pieceBytes), Buffer.alloc(pieceBytes)];
    const blocks: number[] = [];
    for (let at = 0; at < length; at += pieceBytes) {
      const piece = Math.min(pieceBytes, length - at);
      await files[0].read(a, 0, piece, at);
      await files[1].read(b, 0, piece, at);
      if (a.compare(b, 0, piece, 0, piece) === 0) continue;
      for (let i = 0; i < piece; i += BLOCK) {
        const end = Math.min(i + BLOCK, piece);
        if (a.compare(b, i, end, i, end) !== 0) blocks.push((at + i) / BLOCK);
      }
    }
    return blocks.length === 0 ? "" : `${blocks.length} blocks differ: ${blocks.slice(0, 20).join(", ")}`;
  } finally {
    await files[0].close();
    await files[1].close();
  }
}

/** Writes the content of a store's image to a raw file, read as the program reads it. */
export async function writeContent(images: ImageStore, id: string, path: string): Promise<void> {
  const core = await loadCore();
  const content = await openContent(images, id);
  const file = await open(path, "w");
  const blocks = pieceBytes / BLOCK;
  const memory = core.allocate(pieceBytes);
  try {
    const { lengthBytes } = await images.read(id);
    for (let block = 0; block < content.blocks; block += blocks) {
      const count = Math.min(blocks, content.blocks - block);
      content.readBlocks(core.bytes(), memory, block, count);
      const length = Math.min(count * BLOCK, lengthBytes - block * BLOCK);
      const bytes = core.bytes().slice(memory, memory + length);
      if (bytes.some((byte) => byte !== 0)) await file.write(bytes, 0, length, block * BLOCK);
    }
    await file.truncate(lengthBytes);
  } finally {
    core.release(memory);
    content.close();
    await file.close();
  }
}

/** `path`: the image's file as the image above it names it. */
function node(image: ShownImage, path?: string): object {
  const { format: driver, "backing-image": backing, "full-backing-filename": below } = image;
  const file = { driver: "file", filename: fileOf(image) ?? path };
  if (driver === "raw") return { driver, file };
  return { driver, file, backing: backing ? node(backing, below) : null };
}

/** The image's file. Null if it cannot be told: of a long chain QEMU shows only the first 4095 characters. */
export function fileOf({ filename }: ShownImage): string | null {
  // QEMU shows a node as JSON when a plain name would not open the same.
  if (!filename.startsWith("json:")) return filename;
  try {
    const shown = JSON.parse(filename.slice("json:".length)) as { file: { filename: string } };
    return shown.file.filename;
  } catch {
    return null;
  }
}

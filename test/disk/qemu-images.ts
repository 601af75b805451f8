/** Images made by QEMU's own programs, the oracle for our reader. */

import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { nodeDecompressors, openFileSource } from "../../cli/disk/file-source.ts";
import type { DiskImage, ImageFormat } from "../../src/disk/disk-image.ts";
import { ImageChain } from "../../src/disk/image-chain.ts";
import { openImage } from "../../src/disk/open-image.ts";

/** Why tests cannot run here, or false. */
export const missingPrograms = ["qemu-img", "qemu-io"].some((name) => spawnSync(name, ["--version"]).error)
  ? "qemu-img and qemu-io are not installed (Debian: qemu-utils)"
  : false;

/** Runs one of QEMU's programs, gives back what it printed, throws if it failed. */
function run(program: string, args: readonly string[]): string {
  const { status, stdout, stderr, error } = spawnSync(program, args, { encoding: "utf8", timeout: 60_000 });
  if (error) throw error;
  // qemu-io ends with 0 after a failed command, but says so.
  if (status !== 0 || /failed|error/i.test(stdout + stderr)) {
    throw new Error(`${program} ${args.join(" ")} failed: ${stdout}${stderr}`);
  }
  return stdout;
}

export const qemuImg = (...args: string[]) => run("qemu-img", args);

/** Makes an image. `base` must lie in the same folder. */
export function createImage(
  path: string,
  format: ImageFormat,
  size: string | number,
  options: string,
  base?: { file: string; format: ImageFormat },
): void {
  const backing = base ? ["-b", base.file, "-F", base.format] : [];
  qemuImg("create", "-q", "-f", format, ...backing, ...(options ? ["-o", options] : []), path, String(size));
}

/** Runs commands of qemu-io on an image in one process. */
export function qemuIo(path: string, format: ImageFormat, commands: readonly string[]): void {
  const args = commands.flatMap((command) => ["-c", command]);
  run("qemu-io", ["-d", "unmap", "-f", format, ...args, path]);
}

/** The disk's content as QEMU reads it. */
export function contentByQemu(path: string, format: ImageFormat): Uint8Array {
  const raw = `${path}.expected`;
  qemuImg("convert", "-f", format, "-O", "raw", path, raw);
  return readFileSync(raw);
}

/** Opens an image and all images under it, as their headers name them. */
export function openChain(path: string, format: ImageFormat): ImageChain {
  const images: DiskImage[] = [];
  for (let next: { file: string; format: ImageFormat } | null = { file: path, format }; next; ) {
    const image = openImage(openFileSource(next.file), next.format, nodeDecompressors);
    images.push(image);
    const { backing }: DiskImage = image;
    next = backing && { file: join(dirname(path), backing.file), format: backing.format ?? "raw" };
  }
  return new ImageChain(images, images[0].lengthBytes);
}

/** Whether each block of a disk may have data, as QEMU says. */
export function dataBlocksByQemu(path: string, format: ImageFormat, blocks: number): boolean[] {
  const has = new Array<boolean>(blocks).fill(false);
  for (const extent of JSON.parse(qemuImg("map", "--output=json", "-f", format, path))) {
    if (extent.data)
      has.fill(true, Math.floor(extent.start / 4096), Math.ceil((extent.start + extent.length) / 4096));
  }
  return has;
}

/** Random writes, writes of zeroes and discards within the first `size` bytes, for qemu-io. */
export function randomCommands(size: number, count: number, seed: number): string[] {
  let state = seed;
  const random = (limit: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
  const sectors = Math.floor(size / 512);
  return Array.from({ length: count }, () => {
    const at = random(sectors);
    const most = [8, 64, 512, 4096][random(4)];
    const length = Math.min(sectors - at, 1 + random(most));
    const kind = random(10);
    const range = `${at * 512} ${length * 512}`;
    if (kind < 6) return `write -q -P ${1 + random(255)} ${range}`;
    if (kind < 8) return `write -q -z ${range}`;
    return kind < 9 ? `write -q -z -u ${range}` : `discard -q ${range}`;
  });
}

/** Checks and reads disk images with ext4 on the host by e2fsprogs; without root, nothing is mounted. */

import { createHash } from "node:crypto";
import { runDiskProgram } from "../../cli/experiments/guest/ext4.ts";

/** Makes a raw copy of an image, of which the tools below can read; backing images are followed. */
export async function convertToRaw(path: string, rawPath: string): Promise<void> {
  await runDiskProgram("qemu-img", ["convert", "-O", "raw", path, rawPath]);
}

/**
 * Checks the file system of a raw image without changing it. Rejects with e2fsck's output unless it is clean. One that
 * is mounted, or was when its guest ended, is not: its journal has to be replayed first.
 */
export async function checkExt4(path: string): Promise<void> {
  const report = (await runDiskProgram("e2fsck", ["-f", "-n", path])).toString();
  if (/skipping journal recovery/.test(report)) throw new Error(`${path} was not unmounted\n${report}`);
}

/** Reads a file from the file system of a raw image; `file` is its path there. Rejects when there is none. */
export async function readExt4File(path: string, file: string): Promise<Buffer> {
  return await runDiskProgram("debugfs", ["-R", `cat ${file}`, path]);
}

/** SHA-256 in hexadecimal of a file, as the guest's `sum` gives it. */
export async function sumExt4File(path: string, file: string): Promise<string> {
  return createHash("sha256")
    .update(await readExt4File(path, file))
    .digest("hex");
}

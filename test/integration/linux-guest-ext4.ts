/** Disk images with ext4, made, checked and read on the host by e2fsprogs; without root, nothing is mounted. */

import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { open, rm } from "node:fs/promises";
import { messageOf } from "../../cli/errors.ts";

/** The largest file that `readExt4File` reads. */
const MAX_FILE_BYTES = 1 << 30;
/** Debian keeps e2fsprogs where only root's PATH leads. */
const PATH = `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin`;
const TIMEOUT_MS = 120_000;
const MAX_QUOTED_BYTES = 4096;

/** How an image is made. */
export interface Ext4Options {
  /** More arguments of mkfs.ext4. */
  readonly mkfs?: readonly string[];
  /** Of a qcow2 image, such as `cluster_size=65536`. */
  readonly qcow2?: readonly string[];
}

/** Makes an image with an empty file system. A raw one is sparse. */
export async function makeExt4Image(
  path: string,
  sizeBytes: number,
  format: "raw" | "qcow2" = "raw",
  options: Ext4Options = {},
): Promise<void> {
  const raw = format === "raw" ? path : `${path}.raw`;
  const file = await open(raw, "wx");
  try {
    await file.truncate(sizeBytes);
  } finally {
    await file.close();
  }
  await runProgram("mkfs.ext4", ["-q", "-F", ...(options.mkfs ?? []), raw]);
  if (format === "raw") return;
  const more = (options.qcow2 ?? []).flatMap((option) => ["-o", option]);
  await runProgram("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", ...more, raw, path]);
  await rm(raw);
}

/** Makes a raw copy of an image, of which the tools below can read; backing images are followed. */
export async function convertToRaw(path: string, rawPath: string): Promise<void> {
  await runProgram("qemu-img", ["convert", "-O", "raw", path, rawPath]);
}

/**
 * Checks the file system of a raw image without changing it. Rejects with e2fsck's output unless it is clean. One that
 * is mounted, or was when its guest ended, is not: its journal has to be replayed first.
 */
export async function checkExt4(path: string): Promise<void> {
  const report = (await runProgram("e2fsck", ["-f", "-n", path])).toString();
  if (/skipping journal recovery/.test(report)) throw new Error(`${path} was not unmounted\n${report}`);
}

/** Reads a file from the file system of a raw image; `file` is its path there. Rejects when there is none. */
export async function readExt4File(path: string, file: string): Promise<Buffer> {
  return await runProgram("debugfs", ["-R", `cat ${file}`, path]);
}

/** SHA-256 in hexadecimal of a file, as the guest's `sum` gives it. */
export async function sumExt4File(path: string, file: string): Promise<string> {
  return createHash("sha256")
    .update(await readExt4File(path, file))
    .digest("hex");
}

/** Its standard output. Rejects with all that the program wrote. */
async function runProgram(program: string, args: readonly string[]): Promise<Buffer> {
  const options = {
    encoding: "buffer",
    timeout: TIMEOUT_MS,
    maxBuffer: MAX_FILE_BYTES,
    env: { ...process.env, PATH, LC_ALL: "C" },
  } as const;
  return await new Promise((resolve, reject) => {
    execFile(program, args, options, (error, stdout, stderr) => {
      const complaint = complaintOf(stderr.toString());
      if (error === null && complaint === "") return resolve(stdout);
      const reason = error === null ? "" : `${messageOf(error)}\n${stdout.subarray(0, MAX_QUOTED_BYTES)}`;
      reject(new Error(`${program} ${args.join(" ")} failed: ${reason}${complaint}`));
    });
  });
}

/** What e2fsprogs wrote to stderr but for its version. debugfs ends with 0 even when it has found nothing. */
function complaintOf(stderr: string): string {
  return stderr.replace(/^\w+ [\d.]+ \(.*\)\n/, "").trim();
}

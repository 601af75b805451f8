/** Disk images with ext4, made on the host by e2fsprogs; without root, nothing is mounted. */

import { execFile } from "node:child_process";
import { open, rm } from "node:fs/promises";
import { messageOf } from "../../errors.ts";

/** Of what a program prints. */
const maxOutputBytes = 1 << 30;
/** Debian keeps e2fsprogs where only root's PATH leads. */
const path = `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin`;
const timeoutMs = 600_000;
const maxQuotedBytes = 4096;

/** How an image is made. */
export interface Ext4Options {
  /** More arguments of mkfs.ext4. */
  readonly mkfs?: readonly string[];
  /** Of a qcow2 image, such as `cluster_size=65536`. */
  readonly qcow2?: readonly string[];
}

/** Makes an image with an empty file system, or what `-d FOLDER` says. A raw one is sparse. */
export async function makeExt4Image(
  imagePath: string,
  sizeBytes: number,
  format: "raw" | "qcow2" = "raw",
  options: Ext4Options = {},
): Promise<void> {
  const raw = format === "raw" ? imagePath : `${imagePath}.raw`;
  const file = await open(raw, "wx");
  try {
    await file.truncate(sizeBytes);
  } finally {
    await file.close();
  }
  await runDiskProgram("mkfs.ext4", ["-q", "-F", ...(options.mkfs ?? []), raw]);
  if (format === "raw") return;
  const more = (options.qcow2 ?? []).flatMap((option) => ["-o", option]);
  await runDiskProgram("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", ...more, raw, imagePath]);
  await rm(raw);
}

/** Runs a program and gives back its standard output. Rejects with all that it wrote. */
export async function runDiskProgram(program: string, args: readonly string[]): Promise<Buffer> {
  const options = {
    encoding: "buffer",
    timeout: timeoutMs,
    maxBuffer: maxOutputBytes,
    env: { ...process.env, PATH: path, LC_ALL: "C" },
  } as const;
  return await new Promise((resolve, reject) => {
    execFile(program, args, options, (error, stdout, stderr) => {
      const complaint = complaintOf(stderr.toString());
      if (error === null && complaint === "") return resolve(stdout);
      const reason = error === null ? "" : `${messageOf(error)}\n${stdout.subarray(0, maxQuotedBytes)}`;
      reject(new Error(`${program} ${args.join(" ")} failed: ${reason}${complaint}`));
    });
  });
}

/** What e2fsprogs wrote to stderr but for its version. debugfs ends with 0 even when it has found nothing. */
function complaintOf(stderr: string): string {
  return stderr.replace(/^\w+ [\d.]+ \(.*\)\n/, "").trim();
}

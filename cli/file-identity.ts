/** Which file it is, whatever its name is by now. */

import { fstatSync } from "node:fs";
import { stat } from "node:fs/promises";

/** As `stat` has it. No other file has the same as long as this one is open or mapped somewhere. */
export interface FileIdentity {
  readonly device: bigint;
  readonly inode: bigint;
}

/** Of the file at a path. Rejects with the error of `stat`. */
export async function fileIdentity(path: string): Promise<FileIdentity> {
  const { dev, ino } = await stat(path, { bigint: true });
  return { device: dev, inode: ino };
}

/** Of an open file. */
export function openFileIdentity(file: number): FileIdentity {
  const { dev, ino } = fstatSync(file, { bigint: true });
  return { device: dev, inode: ino };
}

/** True if both are the same file. */
export function isSameFile(one: FileIdentity, other: FileIdentity): boolean {
  return one.device === other.device && one.inode === other.inode;
}

/** The record by which a QEMU process is found again: written beside, synced and renamed. */

import { open, readFile, rename } from "node:fs/promises";
import { join } from "node:path";
import { processStartTime } from "./process-identity.ts";
import { isObject } from "./qmp-messages.ts";

/** What is written to RUNDIR/qemu.json. */
export interface QemuRecord {
  readonly pid: number;
  /** See `processStartTime`. */
  readonly startTime: string;
  readonly binary: string;
  readonly args: readonly string[];
  /** The VM's name. */
  readonly name: string;
}

/** Writes the record durably; a crash leaves the old one or the new one. */
export async function writeRecord(runDir: string, record: QemuRecord): Promise<void> {
  const path = join(runDir, "qemu.json");
  const file = await open(`${path}.new`, "w", 0o600);
  try {
    await file.writeFile(`${JSON.stringify(record, undefined, 2)}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(`${path}.new`, path);
  const folder = await open(runDir, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/**
 * The record of the QEMU that runs in a folder, null when none does. When the launcher died before it wrote
 * the record, QEMU's own pid file tells, as long as that process has this folder's pid file in its command line.
 */
export async function findRecord(runDir: string): Promise<QemuRecord | null> {
  const record = decodeRecord(await readFile(join(runDir, "qemu.json"), "utf8").catch(() => ""));
  if (record !== null && (await processStartTime(record.pid)) === record.startTime) return record;
  return findByPidFile(runDir);
}

/** Decodes a record; null when it is not one. */
export function decodeRecord(text: string): QemuRecord | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  if (!isObject(value)) return null;
  const { pid, startTime, binary, args, name } = value;
  if (!Number.isSafeInteger(pid) || (pid as number) < 2) return null;
  if (typeof startTime !== "string" || typeof binary !== "string" || typeof name !== "string") return null;
  if (!Array.isArray(args) || !args.every((argument) => typeof argument === "string")) return null;
  return { pid: pid as number, startTime, binary, args, name };
}

async function findByPidFile(runDir: string): Promise<QemuRecord | null> {
  const pidFile = join(runDir, "qemu.pid");
  const pid = Number(await readFile(pidFile, "utf8").catch(() => ""));
  if (!Number.isSafeInteger(pid) || pid < 2) return null;
  const startTime = await processStartTime(pid);
  if (startTime === null) return null;
  const commandLine = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
  const [binary = "", ...args] = commandLine.split("\0").slice(0, -1);
  const at = args.lastIndexOf("-pidfile");
  if (at < 0 || args[at + 1] !== pidFile) return null;
  return { pid, startTime, binary, args, name: "" };
}

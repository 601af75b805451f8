/**
 * Tells a process from a later one that got the same pid. A pid alone must never be signalled after a restart
 * of the agent: the number may belong to a stranger by then.
 */

import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { promisify } from "node:util";

/** Position of `starttime` in /proc/PID/stat, counted from the field after the command's closing bracket. */
const START_TIME_FIELD = 22 - 3;

/**
 * When a process started, as an opaque text that no other process of this machine shares together with its pid;
 * null when there is no such process or it is only waiting to be reaped.
 * On Linux it is the boot's id and field 22 of /proc/PID/stat (see proc(5)), elsewhere what `ps` says.
 */
export async function processStartTime(pid: number): Promise<string | null> {
  return process.platform === "linux" ? linuxStartTime(pid) : otherStartTime(pid);
}

async function linuxStartTime(pid: number): Promise<string | null> {
  let status: string;
  try {
    status = await readFile(`/proc/${pid}/stat`, "latin1");
  } catch {
    return null;
  }
  // The command is in brackets and may contain spaces and brackets itself.
  const fields = status.slice(status.lastIndexOf(")") + 2).split(" ");
  const state = fields[0];
  const startTime = fields[START_TIME_FIELD];
  if (startTime === undefined || state === "Z" || state === "X") return null;
  const boot = await readFile("/proc/sys/kernel/random/boot_id", "latin1").catch(() => "");
  return `${boot.trim()}/${startTime}`;
}

async function otherStartTime(pid: number): Promise<string | null> {
  try {
    const { stdout } = await promisify(execFile)("ps", ["-o", "stat=,lstart=", "-p", String(pid)]);
    const [state = "", ...started] = stdout.trim().split(/\s+/);
    return state === "" || state.startsWith("Z") ? null : started.join(" ");
  } catch {
    return null;
  }
}

/** What an interrupted run leaves, taken away on the way out: no teardown runs then, and nothing can be waited for. */

import { readdirSync, readFileSync, rmSync } from "node:fs";

/** Processes whose command line names one of the folders. */
export function processesNaming(
  folders: readonly string[],
): { readonly pid: number; readonly line: string }[] {
  const found: { pid: number; line: string }[] = [];
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) continue;
    const line = commandLine(name);
    if (folders.some((folder) => line.includes(folder))) found.push({ pid: Number(name), line });
  }
  return found;
}

/** When this process exits: ends all processes that name one of the folders, and removes these. Returns how to undo that. */
export function endAtExit(folders: readonly string[]): () => void {
  const end = () => {
    for (const { pid } of processesNaming(folders)) process.kill(pid, "SIGKILL");
    for (const folder of folders) rmSync(folder, { recursive: true, force: true });
  };
  process.once("exit", end);
  return () => process.off("exit", end);
}

function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
  } catch {
    return "";
  }
}

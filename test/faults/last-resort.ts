/** What an interrupted run leaves, taken away on the way out: no teardown runs then, and nothing can be waited for. */

import { readdirSync, readFileSync, rmSync } from "node:fs";

/** Processes whose command line names one of the folders. */
function processesNaming(folders: readonly string[]): { readonly pid: number; readonly line: string }[] {
  const found: { pid: number; line: string }[] = [];
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) continue;
    const line = commandLine(name);
    if (folders.some((folder) => line.includes(folder))) found.push({ pid: Number(name), line });
  }
  return found;
}

/**
 * Ends all processes that name one of the folders, and removes these, when this process exits or when the function that
 * this returns is called. That one says which processes were left.
 */
export function endAtExit(folders: readonly string[]): () => string[] {
  const end = () => {
    process.off("exit", end);
    const left = processesNaming(folders);
    for (const { pid } of left) process.kill(pid, "SIGKILL");
    for (const folder of folders) rmSync(folder, { recursive: true, force: true });
    return left.map(({ pid, line }) => `${pid} ${line.slice(0, 120)}`);
  };
  process.once("exit", end);
  return end;
}

function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
  } catch {
    return "";
  }
}

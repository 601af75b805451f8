/** The last resort for a test that takes too long: it is ended by a signal, and no teardown is run then. */

import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { guestName, type Testbed } from "../../cli/demo/testbed.ts";

const open = new Set<Testbed>();

/** Ends all processes of a testbed on SIGTERM, and this one. Returns how to stop watching. */
export function endOnSignal(testbed: Testbed): () => void {
  if (open.size === 0) process.once("SIGTERM", endAll);
  open.add(testbed);
  return () => {
    open.delete(testbed);
    if (open.size === 0) process.off("SIGTERM", endAll);
  };
}

function endAll(): void {
  for (const { socketFolder, sites } of open) {
    for (const site of sites.values()) {
      killIfOurs(site.pid, site.options.folder);
      killIfOurs(pidInRecord(join(site.runPath(guestName), "qemu.json")), socketFolder);
    }
    rmSync(socketFolder, { recursive: true, force: true });
  }
  process.exit(1);
}

function pidInRecord(path: string): number {
  return existsSync(path) ? (JSON.parse(readFileSync(path, "utf8")) as { pid: number }).pid : 0;
}

/** Ends a process whose command line names a folder of the test: a pid alone may be another's by now. */
function killIfOurs(pid: number, folder: string): void {
  const path = `/proc/${pid}/cmdline`;
  if (existsSync(path) && readFileSync(path, "utf8").includes(folder)) process.kill(pid, "SIGKILL");
}

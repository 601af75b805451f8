/** Preloaded into an agent (`NODE_OPTIONS=--import=…`): a file of the host is read late, as on a host with much to do. */

import fs from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";

/** Longer than a small guest's memory takes to be read. */
const lateMs = 400;
const { readFile } = fs;

Object.assign(fs, {
  readFile: async (...args: Parameters<typeof readFile>) => {
    if (String(args[0]).startsWith("/proc/sys/")) await sleep(lateMs);
    return await readFile(...args);
  },
});
syncBuiltinESMExports();

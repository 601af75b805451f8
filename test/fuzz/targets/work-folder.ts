/** Folders for targets that read files or listen on sockets. */

import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A new folder; its path is short, for sockets. It lies in the campaign's folder, which is removed at the end. */
export function workFolder(): string {
  return mkdtempSync(join(tmpdir(), "t-"));
}

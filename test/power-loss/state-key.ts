/** Which states after a crash are the same to the store: what nothing ever reads does not tell them apart. */

import { createHash } from "node:crypto";
import { partialPrefix } from "../../cli/store/atomic-file.ts";
import type { State } from "./crash-states.ts";

/** Equal for states that need not both be checked; if `isExhaustive`, only for those with equal contents. */
export function stateKey(state: State, isExhaustive: boolean): string {
  const hash = createHash("sha256");
  const read = isExhaustive ? null : imagesThatAreRead(state);
  for (const [path, file] of state) {
    const names = path.split("/");
    const unfinished = names.findIndex((name) => name.startsWith(partialPrefix));
    if (read === null || (unfinished < 0 && !isUnreadImage(path, read))) {
      hash.update(`${path}\0${file === null ? "/" : file.key}\n`);
    } else if (unfinished >= 0 && unfinished < names.length - 1) {
      // Of an unfinished folder it counts whether there is something in it.
      hash.update("…");
    } else hash.update(`${path}\0${file === null ? "/" : "?"}\n`);
  }
  return hash.digest("hex");
}

/** Files of images that are complete. What others hold is a VM's own affair, or of no worth. */
function imagesThatAreRead(state: State): Set<string> {
  const read = new Set<string>();
  for (const [path, file] of state) {
    if (file === null || !/\/images\/[^.][^/]*\.json$/.test(path)) continue;
    try {
      const { file: image, digests } = JSON.parse(Buffer.from(file.content()).toString("utf8"));
      if (digests !== null) for (const name of [image, digests]) read.add(String(name));
    } catch {
      // It is damaged, which is for the check to find.
    }
  }
  return read;
}

function isUnreadImage(path: string, read: ReadonlySet<string>): boolean {
  const [, name] = /\/images\/([^/]+\.(?:qcow2|digests))$/.exec(path) ?? [];
  return name !== undefined && !read.has(name);
}

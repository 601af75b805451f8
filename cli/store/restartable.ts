/** Which of the retained generations a VM can be restarted from: all but seeds, which are only there to be built on. */

import { isSeed } from "../../src/generation/manifest.ts";
import type { StoredGeneration } from "./generation-reader.ts";

/** True if a VM can be restarted from it. */
export function isRestartable({ manifest }: Pick<StoredGeneration, "manifest">): boolean {
  return !isSeed(manifest);
}

/** The newest one that a VM can be restarted from; `generations` are in ascending order. */
export function newestRestartable(generations: readonly StoredGeneration[]): StoredGeneration | undefined {
  return generations.findLast(isRestartable);
}

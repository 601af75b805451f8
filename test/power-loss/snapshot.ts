/** What a store must hold at a moment: its small records, word for word, and its generations. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { namesIn } from "../../cli/store/folder.ts";
import type { VmStore } from "../../cli/store/vm-store.ts";

/** The VM of all scenarios. */
export const scenarioVm = "web1";

/** A moment at which everything that was asked for so far has been reported done. */
export interface Snapshot {
  /** What was done last. */
  readonly step: string;
  /** Contents of the files that are replaced as a whole, by their paths in the watched folder. */
  readonly records: Readonly<Record<string, string>>;
  /** Roots of the generations in force, by their numbers. */
  readonly generations: Readonly<Record<string, string>>;
}

/** Takes a snapshot of the store `root/store` and of the keys beside it. */
export async function takeSnapshot(step: string, root: string, store: VmStore): Promise<Snapshot> {
  const { generations } = await store.list();
  return {
    step,
    records: await readRecords(root),
    generations: Object.fromEntries(
      generations.map(({ manifest }) => [String(manifest.generation), manifest.root]),
    ),
  };
}

/** All records under `root`, by their paths in it. */
export async function readRecords(root: string): Promise<Record<string, string>> {
  const vm = `store/${scenarioVm}`;
  const paths: string[] = [];
  const find = async (folder: string, pattern: RegExp) => {
    for (const name of (await namesIn(join(root, folder))).sort()) {
      if (pattern.test(name)) paths.push(`${folder}/${name}`);
    }
  };
  await find(vm, /^(ownership|vm\.yaml|disks\.json|intact\.json|fenced\.json)$/);
  await find(`${vm}/holders`, /^[^.].*\.json$/);
  await find(`${vm}/branches`, /^[^.].*\.json$/);
  await find(`${vm}/images`, /^[^.].*\.json$/);
  await find("store.keys", /^[^.].*\.key$/);
  return Object.fromEntries(paths.map((path) => [path, readFileSync(join(root, path), "utf8")]));
}

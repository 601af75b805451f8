/** Checks the generations of one VM in their order, so that each one's base was checked before it. */

import { isSeed, type Manifest } from "../generation/manifest.ts";
import type { CheckContext, CheckedGeneration } from "./checked-generation.ts";
import { orFinding } from "./damage.ts";
import { DigestMemory } from "./digest-windows.ts";
import { checkGeneration } from "./generation-check.ts";
import type { GenerationFiles } from "./generation-files.ts";
import type { FindingLog } from "./report.ts";

/** A generation that was found. */
export interface FoundGeneration {
  readonly generation: number;
  readonly files: GenerationFiles;
  /** Null if it cannot be read: of that a finding tells already. */
  readonly manifest: Manifest | null;
}

/** What became of it. */
export interface ChainVerdict extends FoundGeneration {
  /** Null if it could not be checked. */
  readonly checked: CheckedGeneration | null;
  /** Nothing was found wrong with its own files, and its base is there. */
  readonly intact: boolean;
  /** A VM can be restarted from it: it is no seed, and its content and that of everything under it is what the root says. */
  readonly restorable: boolean;
}

/** Checks them in the order of their numbers, which are different. `onBytes` is told what was looked at, also 0. */
export async function checkChain(
  context: Omit<CheckContext, "onBytes" | "digestMemory">,
  found: readonly FoundGeneration[],
  onBytes: (generation: number, bytes: number) => void,
): Promise<ChainVerdict[]> {
  const { log } = context;
  const digestMemory = new DigestMemory();
  const known = new Map<number, CheckedGeneration>();
  const verdicts: ChainVerdict[] = [];
  const sorted = [...found].sort((a, b) => a.generation - b.generation);
  // The last one that stands on each.
  const lastOn = new Map(sorted.map(({ manifest, generation }) => [manifest?.base?.generation, generation]));
  for (const one of sorted) {
    const { generation, files, manifest } = one;
    onBytes(generation, 0);
    if (manifest === null) {
      verdicts.push({ ...one, checked: null, intact: false, restorable: false });
      continue;
    }
    const base = findBase(log, files, manifest, known);
    const checked = await orFinding(log, { path: files.path, generation }, () =>
      checkGeneration(
        { ...context, digestMemory, onBytes: (bytes) => onBytes(generation, bytes) },
        { manifest, files },
        base,
      ),
    );
    if (checked) known.set(generation, checked);
    for (const done of [base, checked]) {
      if (done && (lastOn.get(done.manifest.generation) ?? 0) <= generation) done.rightDigests = null;
    }
    const intact = checked?.intact === true && (manifest.base === null || base !== null);
    const restorable = checked?.isRight === true && !isSeed(manifest);
    verdicts.push({ ...one, checked, intact, restorable });
  }
  return verdicts;
}

/** Bytes of deltas and images that a check reads. */
export function bytesToRead(manifests: Iterable<Manifest | null>, quick: boolean): number {
  let total = 0;
  for (const manifest of manifests) {
    total += manifest?.files.delta?.bytes ?? 0;
    if (!quick) total += manifest?.files["ram.img"]?.bytes ?? 0;
  }
  return total;
}

function findBase(
  log: FindingLog,
  files: GenerationFiles,
  manifest: Manifest,
  known: ReadonlyMap<number, CheckedGeneration>,
): CheckedGeneration | null {
  const { base, generation } = manifest;
  if (base === null) return null;
  const found = known.get(base.generation);
  if (found && found.manifest.root === base.root) return found;
  const what = found ? "has another root" : "is not here or not readable";
  log.add({ path: files.path, generation, problem: `its base, generation ${base.generation}, ${what}` });
  return null;
}

/** What a destination offers to build on, and whether it can build on what the source has chosen. */

import { loadCore } from "../../src/core.ts";
import { diskDifference } from "../../src/generation/disks.ts";
import { type Geometry, placeRegions, sameGeometry } from "../../src/generation/geometry.ts";
import type { GenerationId } from "../../src/generation/manifest.ts";
import { OperationError } from "../errors.ts";
import type { StoredGeneration } from "../store/generation-reader.ts";
import { IntegrityLedger } from "../store/integrity.ts";
import type { VmStore } from "../store/vm-store.ts";
import { protocolError } from "../wan/connection.ts";
import type { MessageOf } from "../wan/messages.ts";

/**
 * Generations that are intact. One whose files were touched is not offered; the newest one is checked then, since it is
 * what the source hopes for.
 */
export async function intactGenerations(
  store: VmStore,
  key: Uint8Array,
  warn: (message: string) => void,
): Promise<GenerationId[]> {
  const ledger = new IntegrityLedger(store);
  const { generations } = await store.list();
  const have: GenerationId[] = [];
  for (const one of generations) {
    const { generation, root } = one.manifest;
    let isIntact = await ledger.isUntouched(one);
    if (!isIntact && one === generations.at(-1)) {
      const problem = await ledger.check(await loadCore(), key, one);
      if (problem) warn(`Generation ${generation} of ${store.vm} is damaged and set aside: ${problem}`);
      isIntact = problem === null;
    }
    if (isIntact) have.push({ generation, root });
  }
  return have;
}

/** What `begin` builds: its regions, and the generation under it. Throws OperationError if they do not fit. */
export async function chosenBase(
  store: VmStore,
  site: string,
  prepare: MessageOf<"prepare">,
  message: MessageOf<"begin">,
): Promise<{ geometry: Geometry; base: StoredGeneration | null }> {
  const geometry = placeRegions(message.regions);
  const [main] = geometry.regions;
  if (main.name !== prepare.ramBlock || main.lengthBytes !== prepare.vm.memoryBytes) {
    throw protocolError(site, "the first region is not the VM's main memory");
  }
  if (message.base === null) return { geometry, base: null };
  const base = await store.find(message.base);
  const cannot = (why: string) =>
    new OperationError("failed", `Cannot build on generation ${message.base?.generation}: ${why}`);
  if (!base) throw cannot("it is not here with that root");
  if (!sameGeometry(geometry, placeRegions(base.manifest.regions))) throw cannot("its regions differ");
  const changed = diskDifference(base.manifest.disks, prepare.vm.disks);
  if (changed) throw cannot(changed);
  return { geometry, base };
}

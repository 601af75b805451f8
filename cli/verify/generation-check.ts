/** Checks one generation: its files against its manifest, its digests against its root. Contents: content-check.ts. */

import { join } from "node:path";
import { fromHex, toHex } from "../../src/bytes.ts";
import { PageDigests } from "../../src/generation/digest-tree.ts";
import { placeRegions, sameGeometry } from "../../src/generation/geometry.ts";
import { readDigests, type StoredGeneration } from "../store/generation-reader.ts";
import type { CheckContext, CheckedGeneration } from "./checked-generation.ts";
import { checkContent } from "./content-check.ts";
import { orFinding } from "./damage.ts";
import { checkDevice } from "./device-check.ts";
import { checkInventory } from "./inventory.ts";

/** Checks a generation whose manifest was read. `base` is what it stands on, checked before; null if complete. */
export async function checkGeneration(
  context: CheckContext,
  stored: StoredGeneration,
  base: CheckedGeneration | null,
): Promise<CheckedGeneration> {
  const { core, log, key, quick } = context;
  const { manifest, directory } = stored;
  const { generation } = manifest;
  const before = log.findings.length;
  const geometry = placeRegions(manifest.regions);
  const files = checkInventory(log, directory, manifest, geometry);
  const fits = base === null || sameGeometry(geometry, placeRegions(base.stored.manifest.regions));
  if (!fits) {
    log.add({
      path: join(directory, "manifest.json"),
      generation,
      problem: "its regions are not those of its base",
    });
  }
  const deviceGood = files.has("device") && (await checkDevice(core, log, directory, manifest, key));
  const path = join(directory, "digests");
  const read = files.has("digests")
    ? await orFinding(log, { path, generation }, () => readDigests(stored))
    : null;
  const digests = new PageDigests(core, key, geometry, read ?? undefined);
  try {
    const digestsGood =
      read !== null && toHex(digests.root(fromHex(manifest.deviceDigest))) === manifest.root;
    const claims = {
      stored,
      base: fits ? base : null,
      files,
      digests,
      hasDigests: read !== null,
      digestsGood,
    };
    const { wrong, rightDigests } = await checkContent(context, claims);
    const intact = log.findings.length === before;
    const hasBase = manifest.base === null || (base !== null && fits);
    const restorable = quick
      ? intact && hasBase && (base === null || base.restorable)
      : deviceGood && wrong?.every((bits) => bits === 0) === true;
    return { stored, digestsGood, rightDigests, wrong, intact, restorable };
  } finally {
    digests.release();
  }
}

/**
 * Checks one generation: its files against its manifest, its digests against its root. Contents: content-check.ts;
 * disks: disk-check.ts.
 */

import { join } from "node:path";
import { fromHex, toHex } from "../../src/bytes.ts";
import { type DiskTop, PageDigests } from "../../src/generation/digest-tree.ts";
import { diskDifference } from "../../src/generation/disks.ts";
import { placeRegions, sameGeometry } from "../../src/generation/geometry.ts";
import { readDigests, type StoredGeneration } from "../store/generation-reader.ts";
import type { CheckContext, CheckedGeneration } from "./checked-generation.ts";
import { checkContent } from "./content-check.ts";
import { orFinding } from "./damage.ts";
import { checkDevice } from "./device-check.ts";
import { examineDisks } from "./disk-check.ts";
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
  const unlike = base && differenceToBase(stored, base.stored);
  const fits = unlike === null;
  if (!fits) log.add({ path: join(directory, "manifest.json"), generation, problem: unlike });
  const deviceGood = files.has("device") && (await checkDevice(core, log, directory, manifest, key));
  const path = join(directory, "digests");
  const read = files.has("digests")
    ? await orFinding(log, { path, generation }, () => readDigests(stored))
    : null;
  const disks = await examineDisks(context, stored);
  const digests = new PageDigests(core, key, geometry, read ?? undefined);
  try {
    const givesRoot = (tops: readonly DiskTop[]) =>
      toHex(digests.root(fromHex(manifest.deviceDigest), tops)) === manifest.root;
    const storedTops = read === null ? null : disks.findTops(givesRoot);
    const digestsGood = storedTops !== null;
    const claims = {
      stored,
      base: fits ? base : null,
      files,
      digests,
      hasDigests: read !== null,
      digestsGood,
      disks,
      tops: storedTops,
    };
    const { wrong, rightDigests, tops } = await checkContent(context, claims);
    const checkedDisks = disks.conclude(tops);
    const disksGood = checkedDisks.every(({ isGood }) => isGood);
    const intact = log.findings.length === before;
    const hasBase = manifest.base === null || (base !== null && fits);
    const restorable = quick
      ? intact && hasBase && (base === null || base.restorable) && disksGood
      : deviceGood && wrong?.every((bits) => bits === 0) === true && disksGood;
    return { stored, digestsGood, rightDigests, wrong, disks: checkedDisks, intact, restorable };
  } finally {
    digests.release();
    disks.release();
  }
}

function differenceToBase({ manifest }: StoredGeneration, base: StoredGeneration): string | null {
  if (!sameGeometry(placeRegions(manifest.regions), placeRegions(base.manifest.regions))) {
    return "its regions are not those of its base";
  }
  const difference = diskDifference(manifest.disks, base.manifest.disks);
  return difference && `its disks are not those of its base: ${difference}`;
}

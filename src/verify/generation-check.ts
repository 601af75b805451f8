/**
 * Checks one generation: its files against its manifest, its digests against its root. Contents: content-check.ts;
 * disks: disk-checks.ts.
 */

import { fromHex, toHex } from "../bytes.ts";
import { type DiskTop, digestBytes, rootOver } from "../generation/digest-tree.ts";
import { diskDifference } from "../generation/disks.ts";
import { placeRegions, sameGeometry } from "../generation/geometry.ts";
import type { Manifest } from "../generation/manifest.ts";
import type {
  CheckContext,
  CheckedGeneration,
  GenerationClaims,
  HeldGeneration,
} from "./checked-generation.ts";
import { checkContent } from "./content-check.ts";
import { orFinding } from "./damage.ts";
import { checkDevice } from "./device-check.ts";
import { sameDigests } from "./digest-windows.ts";
import type { ExaminedDisks } from "./disk-checks.ts";
import { pathIn } from "./generation-files.ts";
import { checkInventory } from "./inventory.ts";
import { openPageDigests } from "./page-digests-file.ts";

/** Checks a generation whose manifest was read. `base` is what it stands on, checked before; null if complete. */
export async function checkGeneration(
  context: CheckContext,
  held: HeldGeneration,
  base: CheckedGeneration | null,
): Promise<CheckedGeneration> {
  const { core, log, key, quick } = context;
  const { manifest, files } = held;
  const { generation } = manifest;
  const before = log.findings.length;
  const geometry = placeRegions(manifest.regions);
  const usable = checkInventory(log, files, manifest, geometry);
  const unlike = base && differenceToBase(manifest, base.manifest);
  const fits = unlike === null;
  if (!fits) log.add({ path: pathIn(files, "manifest.json"), generation, problem: unlike });
  const deviceGood = usable.has("device") && (await checkDevice(core, log, files, manifest, key));
  const read = usable.has("digests")
    ? await orFinding(log, { path: pathIn(files, "digests"), generation }, () =>
        openPageDigests(context, held, geometry),
      )
    : null;
  let disks: ExaminedDisks | null = null;
  try {
    disks = await context.disks.examine(manifest, context.onBytes);
    const zero = core.blake3(new Uint8Array(4096), key, digestBytes);
    const givesRoot = (tops: readonly DiskTop[]) =>
      read !== null &&
      toHex(rootOver(core, key, geometry, read.first.tops, fromHex(manifest.deviceDigest), tops)) ===
        manifest.root;
    const storedTops = read === null ? null : disks.findTops(givesRoot);
    const claims: GenerationClaims = {
      manifest,
      files,
      geometry,
      base: fits ? base : null,
      usable,
      digests: read?.file ?? sameDigests(zero, geometry.totalPages),
      hasDigests: read !== null,
      digestsGood: storedTops !== null || (read !== null && disks.areLeftOut),
      disks,
      tops: storedTops,
    };
    if (disks.areLeftOut) {
      const names = manifest.disks.map(({ name }) => name).join(", ");
      log.note(
        files.path,
        `its disks (${names}), and so its root, were not checked: they are not among the files`,
      );
    }
    const { wrong, rightDigests, tops, dirty } = await checkContent(context, claims);
    const checkedDisks = disks.conclude(tops);
    const intact = log.findings.length === before;
    const hasBase = manifest.base === null || (base !== null && fits);
    const isRight = quick
      ? intact && hasBase && (base === null || base.isRight) && checkedDisks.areGood
      : deviceGood && wrong === "none" && checkedDisks.areGood;
    const { digestsGood } = claims;
    const digestSums = read?.first.sums ?? null;
    const result = {
      manifest,
      files,
      base: claims.base,
      digestsGood,
      digestSums,
      rightDigests,
      dirty,
      wrong,
    };
    return { ...result, disks: checkedDisks, intact, isRight };
  } finally {
    read?.file.close();
    disks?.release();
  }
}

function differenceToBase(manifest: Manifest, base: Manifest): string | null {
  if (!sameGeometry(placeRegions(manifest.regions), placeRegions(base.regions))) {
    return "its regions are not those of its base";
  }
  const difference = diskDifference(manifest.disks, base.disks);
  return difference && `its disks are not those of its base: ${difference}`;
}

/** Stores that leave out a sync, or rename too early: changes to what a scenario did, after which the check must fail. */

import type { Operation } from "./operations.ts";

/** A store that does something wrong, and what is said of it. */
export interface Sabotage {
  readonly what: string;
  /** Step after which it goes wrong; from the beginning without it. */
  readonly from?: string;
  readonly change: (operations: readonly Operation[]) => Operation[];
  readonly problem: RegExp;
}

/** Leaves out syncs of what has such a path. Throws Error if there is none. */
function withoutSyncs(path: RegExp): Sabotage["change"] {
  return (operations) => {
    const left = operations.filter((operation) => operation.kind !== "sync" || !path.test(operation.path));
    if (left.length === operations.length) throw new Error(`nothing with the path ${path} is synced`);
    return left;
  };
}

/** The same, only after a step. */
function withoutSyncsAfter(step: string, path: RegExp): Sabotage["change"] {
  return (operations) => {
    const at = operations.findIndex((one) => one.kind === "mark" && JSON.parse(one.text).step === step);
    return [...operations.slice(0, at), ...withoutSyncs(path)(operations.slice(at))];
  };
}

/** Puts the first rename of such a path before the sync of the same file. */
function renamedTooEarly(path: RegExp): Sabotage["change"] {
  return (operations) => {
    const changed = [...operations];
    const at = changed.findIndex((one) => one.kind === "rename" && path.test(one.path));
    const [rename] = changed.splice(at, 1);
    const sync = changed.findLastIndex((one, i) => i < at && one.kind === "sync" && one.path === rename.path);
    if (at < 0 || sync < 0) throw new Error(`nothing with the path ${path} is synced and renamed`);
    changed.splice(sync, 0, rename);
    return changed;
  };
}

const partial = String.raw`^store/web1/generations/\.partial-leg-1`;
const isMissing = /is missing/;
const isBadRecord = /not a valid ownership record|record store\/web1\/ownership/;
const isBadMemory = /ram\.img|not restorable/;

/** By the scenario's name. */
export const sabotages: Readonly<Record<string, readonly Sabotage[]>> = {
  arrival: [
    {
      what: "does not sync the image of memory",
      change: withoutSyncs(new RegExp(`${partial}/ram.img$`)),
      problem: isBadMemory,
    },
    {
      what: "does not sync the device state",
      change: withoutSyncs(new RegExp(`${partial}/device$`)),
      problem: /device/,
    },
    {
      what: "does not sync the manifest",
      change: withoutSyncs(new RegExp(`${partial}/manifest.json$`)),
      problem: /generation 1 is missing|manifest/,
    },
    {
      what: "does not sync the generation's folder",
      change: withoutSyncs(new RegExp(`${partial}$`)),
      problem: isMissing,
    },
    {
      what: "does not sync the folder of generations",
      change: withoutSyncs(/^store\/web1\/generations$/),
      problem: /generation 1 is missing/,
    },
    { what: "does not sync the names of VMs", change: withoutSyncs(/^store$/), problem: isMissing },
    { what: "does not sync the name of the store", change: withoutSyncs(/^$/), problem: isMissing },
    {
      what: "does not sync the folder of keys",
      change: withoutSyncs(/^store\.keys$/),
      problem: /web1\.key is missing/,
    },
    {
      what: "does not sync the record of ownership",
      change: withoutSyncs(/\.partial-ownership-/),
      problem: isBadRecord,
    },
    {
      what: "renames the record of ownership before it is synced",
      change: renamedTooEarly(/\.partial-ownership-/),
      problem: isBadRecord,
    },
  ],
  tidying: [
    {
      what: "compacts without a sync of the new image",
      change: withoutSyncs(/\.partial-ram\.img$/),
      problem: isBadMemory,
    },
    {
      what: "compacts without a sync of the generation's folder",
      change: withoutSyncs(/^store\/web1\/generations\/4$/),
      problem: /ram\.img|not restorable|is missing/,
    },
  ],
  disks: [
    {
      what: "commits images that QEMU does not sync",
      change: withoutSyncs(/^store\/web1\/images\/disk0-[0-9a-f]+\.qcow2$/),
      problem: /qcow2|block|not restorable/,
    },
    {
      what: "merges images that QEMU does not sync",
      from: "sweep",
      change: withoutSyncsAfter("sweep", /^store\/web1\/images\/disk0-[0-9a-f]+\.qcow2$/),
      problem: /qcow2|block|not restorable/,
    },
    {
      what: "merges digests that are not synced",
      from: "sweep",
      change: withoutSyncsAfter("sweep", /^store\/web1\/images\/disk0-[0-9a-f]+\.digests$/),
      problem: /digest/,
    },
  ],
};

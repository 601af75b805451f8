/** What must hold after a leg that failed while disks were read, and how a leg is made to fail then. */

import { readdir, stat } from "node:fs/promises";
import { basename } from "node:path";
import type { Test } from "tap";
import type { ControlLine } from "../../cli/control-client.ts";
import { guestName } from "../../cli/demo/testbed.ts";
import { blockHostFolder } from "../../cli/disk/block-host.ts";
import { blockNodes } from "../../cli/disk/dirty-bitmaps.ts";
import { diskSocketPath } from "../../cli/leg/leg-remains.ts";
import { findRecord } from "../../cli/qemu/process-record.ts";
import { isUnderWay, slowBitsPerSecond } from "./aftermath.ts";
import { DiskRig } from "./disk-rig.ts";
import { differences } from "./memory.ts";
import type { LegEnd, LegOptions } from "./rig.ts";
import { waitFor } from "./wait-for.ts";

const MIB = 1 << 20;

/** The disk of the VM. */
const faultDisk = "disk0";
/** What a leg has to carry of it: at the slow rate this takes some seconds. */
const filledBytes = 24 * MIB;

/** Where a leg goes, and whether there was one before. */
export interface Route {
  readonly leg: "first" | "return";
  readonly from: string;
  readonly to: string;
}

/** Both kinds of legs. */
export const routes: readonly Route[] = [
  { leg: "first", from: "a", to: "b" },
  { leg: "return", from: "b", to: "a" },
];

/** The VM at `from`, with much to carry on its disk. */
export async function bootForFault(
  t: Test,
  { leg, from, to }: Route,
  changes: Parameters<typeof DiskRig.boot>[2] = {},
): Promise<DiskRig> {
  const initial = ["write -P 17 30M 2M"];
  const disks = await DiskRig.boot(t, [{ id: faultDisk, lengthBytes: 64 * MIB, initial }], changes);
  if (leg === "return") {
    await disks.rig.migrate(to, from);
    await disks.rig.untilAlive(from);
  }
  await disks.fill(from, faultDisk, 2 * MIB, filledBytes);
  await disks.rig.idle(to);
  return disks;
}

/** True for a progress line of a leg that reads disks, and has sent some megabytes of them. */
function isInDiskRounds(line: ControlLine): boolean {
  return isUnderWay(line) && line["phase"] === "disks";
}

/** A slow leg to which something happens, once, while disks are read. */
export async function legWithAccident(
  disks: DiskRig,
  { from, to }: Route,
  accident: () => Promise<unknown>,
  options: LegOptions = {},
): Promise<LegEnd> {
  let happening: Promise<unknown> | null = null;
  const end = await disks.rig.begin(from, to, {
    bitsPerSecond: slowBitsPerSecond,
    ...options,
    onLine: (line) => {
      if (isInDiskRounds(line)) happening ??= accident();
    },
  });
  if (happening === null)
    throw new Error(`nothing happened to the leg: ${end.error?.message ?? "it ended well"}`);
  await happening;
  return end;
}

/**
 * Checks that the VM runs at `from` alone with its disk as it must be, that nothing of the leg is left over at either
 * site, and that the next leg works. The agents of both sites must be there, and are ended. `kind` is that of the
 * next leg.
 */
export async function checkDiskAftermath(
  t: Test,
  disks: DiskRig,
  { from, to }: Pick<Route, "from" | "to">,
  kind: "first" | "return",
): Promise<void> {
  const { rig } = disks;
  await rig.untilAlive(from);
  await isClean(t, disks, { from, to });
  t.strictSame(await disks.differences(from), [], "the VM's disk is what it has made of it");
  const { done, source, destination, different } = await disks.comparedLeg(from, to);
  t.equal(done.leg, kind, "what was retained before serves the next leg");
  t.strictSame(different, [], "the next leg brings the same disk to the other site");
  t.equal(differences(source, destination), "", "and the same memory");
  await rig.untilAlive(to);
  t.strictSame(await disks.differences(to), [], "the disk is right where the VM runs then");
  t.strictSame(rig.runs.overlaps(), [], "never did two copies run");
  const { findings } = await rig.verifyStores([from, to]);
  t.strictSame(findings, [], "the verifier finds nothing wrong");
}

/** Checks that nothing of a leg is left over. The VM runs at `from`, or nowhere. */
export async function isClean(
  t: Test,
  disks: DiskRig,
  { from, to }: Pick<Route, "from" | "to">,
): Promise<void> {
  const { rig } = disks;
  await Promise.all([rig.idle(from), rig.idle(to)]);
  await waitFor(`no QEMU is left at ${to}`, async () => (await rig.qemuPid(to)) === null || null);
  for (const site of [from, to]) {
    await waitFor(
      `no block host is left at ${site}`,
      async () => (await blockHost(disks, site)) === null || null,
    );
    await waitFor(`nothing unfinished is left in the store of ${site}`, async () => {
      // The agent may tidy up just now.
      const left = await leftFiles(disks, site).catch(() => null);
      return left?.length === 0 || null;
    });
    t.equal(await exists(diskSocketPath(rig.site(site).runPath(guestName))), false, "no socket is left");
  }
  if (await rig.runsAt(from)) t.strictSame(await leftInQemu(disks, from), [], "QEMU is as before the leg");
}

/** What a leg has left in the QEMU where the VM runs. */
async function leftInQemu(disks: DiskRig, site: string): Promise<string[]> {
  const monitor = await disks.rig.monitor(site);
  const exports = await monitor.execute<{ id: string }[]>("query-block-exports");
  const found = exports.map(({ id }) => `export ${id}`);
  const image = (await (await disks.store(site)).images.current()).images[faultDisk] as string;
  const chain = await (await disks.store(site)).images.chain(image);
  const known = chain.flatMap(({ id }) => [`bf-${id.slice(-8)}`, `bf-${id.slice(-8)}-f`]);
  for (const [name, node] of await blockNodes(monitor)) {
    // QEMU gives names with # to nodes of its own, such as the floppy drive's.
    if (!known.includes(name) && !name.startsWith("#")) found.push(`node ${name}`);
    for (const bitmap of node["dirty-bitmaps"] ?? []) {
      if (!bitmap.name.startsWith("bfmig-since-") || bitmap.busy)
        found.push(`bitmap ${bitmap.name} of ${name}`);
    }
  }
  return found;
}

/** Pid of a site's QEMU that writes disk images; null if none lives. */
async function blockHost(disks: DiskRig, site: string): Promise<number | null> {
  const folder = blockHostFolder(disks.rig.site(site).runPath(guestName));
  return (await findRecord(folder))?.pid ?? null;
}

/** Ends it as a crash would. */
export async function killBlockHost(disks: DiskRig, site: string): Promise<void> {
  const pid = await blockHost(disks, site);
  if (pid === null) throw new Error(`no QEMU writes disk images at ${site}`);
  process.kill(pid, "SIGKILL");
}

/** Files of a site's store that belong to no generation and to no disk that the VM has. */
export async function leftFiles(disks: DiskRig, site: string): Promise<string[]> {
  const store = await disks.store(site);
  const { images, aside } = await store.images.current();
  const { generations } = await store.list();
  const named = generations.flatMap(({ manifest }) => manifest.disks.map(({ image }) => image));
  const known = new Set<string>();
  for (const root of [...named, ...Object.values(images), ...aside]) {
    for (const image of await store.images.chain(root)) {
      for (const name of [`${image.id}.json`, basename(image.file), image.digests ?? ""]) known.add(name);
    }
  }
  const left = (await namesIn(store.images.path)).filter((name) => !known.has(name));
  const folders = (await namesIn(store.generationsPath)).filter((name) => !/^(damaged-)?\d+/.test(name));
  return [...left, ...folders];
}

async function namesIn(path: string): Promise<string[]> {
  return await readdir(path).catch(() => []);
}

async function exists(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    () => false,
  );
}

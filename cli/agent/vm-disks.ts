/**
 * A VM's disks at this site: which images it starts on, and which it writes to. One rule holds everywhere: a VM
 * never runs on an image that has digests, for a generation may need it.
 */

import { resolve } from "node:path";
import type { Manifest } from "../../src/generation/manifest.ts";
import type { DiskBus, VmDisk } from "../config/vm-definition.ts";
import type { BlockHost } from "../disk/block-host.ts";
import { chainNodes, nodeName } from "../disk/block-nodes.ts";
import { describeExternal } from "../disk/image-content.ts";
import { createOverlay } from "../disk/image-creation.ts";
import type { ImageDescriptor, ImageStore } from "../disk/image-store.ts";
import { OperationError } from "../errors.ts";
import type { LegDisk } from "../leg/source-disks.ts";
import type { DiskSpec } from "../qemu/arguments.ts";
import type { QmpClient } from "../qemu/qmp-client.ts";
import { describeFile, diskError } from "./disk-files.ts";
import type { ManagedVm } from "./managed-vm.ts";
import { type QemuSite, startBlockHost } from "./vm-confinement.ts";

/** The disks as the VM's command line has them. `chains` are newest first, in the order of the definition. */
export function diskSpecs(vm: ManagedVm, chains: readonly (readonly ImageDescriptor[])[]): DiskSpec[] {
  return vm.definition.disks.map(({ id, bus, cache }, i) => ({
    id,
    bus,
    nodes: chainNodes(vm.store.images, chains[i] ?? [], { writable: true, cache }),
  }));
}

/** The images that the VM writes to, newest first for each disk. Throws OperationError if one is not known. */
export async function currentChains(vm: ManagedVm): Promise<ImageDescriptor[][]> {
  const { images } = vm.store;
  const { images: current } = await images.current();
  return await Promise.all(
    vm.definition.disks.map(async (disk) => {
      const id = current[disk.id] ?? diskError("failed", disk, "nothing is recorded of it here");
      return await images.chain(id);
    }),
  );
}

/** Before a VM starts afresh: each disk has an image that may be written to. Makes what is missing. */
export async function prepareDisks(site: QemuSite, vm: ManagedVm): Promise<void> {
  const { store, definition } = vm;
  const { images } = store;
  if (definition.disks.length === 0) return;
  await images.prepare();
  const current = await images.current();
  const next = { ...current.images };
  let host: BlockHost | null = null;
  try {
    for (const disk of definition.disks) {
      const id = next[disk.id];
      if (id === undefined) {
        const image = await describeFile(images, disk);
        await images.write(image);
        next[disk.id] = image.id;
        continue;
      }
      const image = await images.read(id);
      if (image.digests === null) continue;
      host ??= await startBlockHost(site, vm);
      next[disk.id] = await overlayOn(host.qmp, images, image, disk.granularityBytes);
    }
  } finally {
    await host?.close();
  }
  await images.setCurrent({ ...current, images: next });
}

/** New images over those of a generation, for a VM that is restarted from it; nothing is recorded as current. */
export async function overlaysOnGeneration(
  site: QemuSite,
  vm: ManagedVm,
  { disks }: Manifest,
): Promise<Record<string, string>> {
  const made: Record<string, string> = {};
  if (disks.length === 0) return made;
  const { images } = vm.store;
  const host = await startBlockHost(site, vm);
  try {
    for (const { name, image } of disks) {
      const granularity = vm.definition.disks.find(({ id }) => id === name)?.granularityBytes;
      if (granularity === undefined) {
        throw new OperationError("failed", `Cannot use disk ${name}: ${vm.name} is defined without it`);
      }
      made[name] = await overlayOn(host.qmp, images, await images.read(image), granularity);
    }
  } finally {
    await host.close();
  }
  return made;
}

/** Records what a VM that was restarted from a generation writes to. What it wrote to before is kept aside. */
export async function recordRecovered(
  vm: ManagedVm,
  overlays: Readonly<Record<string, string>>,
): Promise<void> {
  if (vm.definition.disks.length === 0) return;
  const { images } = vm.store;
  const { images: before, aside } = await images.current();
  const written: string[] = [];
  for (const id of Object.values(before)) if ((await images.read(id)).digests === null) written.push(id);
  await images.setCurrent({ format: 1, images: overlays, aside: [...aside, ...written] });
}

/**
 * Lets a VM run that a handover has stopped here. Where this site's copy of that state is complete, the VM gets new
 * images to write to first, so that the copy stays as it is.
 */
export async function runAgain(vm: ManagedVm, qmp: QmpClient): Promise<void> {
  const { images } = vm.store;
  const current = await images.current();
  const next = { ...current.images };
  for (const { name, node, image, granularityBytes } of await legDisks(vm, qmp)) {
    if (image.digests === null) continue;
    const id = await overlayOn(qmp, images, image, granularityBytes);
    const overlay = nodeName(id);
    const { cache } = vm.definition.disks.find((disk) => disk.id === name) as VmDisk;
    const [top] = chainNodes(images, [{ ...(await images.read(id)), backing: null }], {
      writable: true,
      cache,
    });
    await qmp.execute("blockdev-add", top);
    await qmp.execute("blockdev-snapshot", { node, overlay });
    next[name] = id;
  }
  if (vm.definition.disks.length > 0) await images.setCurrent({ ...current, images: next });
  await qmp.execute("cont");
}

interface BlockDevice {
  readonly device: string;
  readonly qdev?: string;
  readonly inserted?: {
    readonly "node-name"?: string;
    readonly image: { readonly filename: string; readonly format: string; readonly "virtual-size": number };
  };
}

/** The disks of a running VM, as QEMU has them. Throws OperationError if one is missing or was resized. */
export async function legDisks(
  vm: ManagedVm,
  qmp: QmpClient,
): Promise<(LegDisk & { readonly bus: DiskBus })[]> {
  const { definition, store } = vm;
  if (definition.disks.length === 0) return [];
  const { images: current } = await store.images.current();
  const devices = await qmp.execute<BlockDevice[]>("query-block");
  return await Promise.all(
    definition.disks.map(async (disk) => {
      const { id, bus, granularityBytes } = disk;
      const inserted = findDevice(devices, disk);
      const image = await store.images.read(
        current[id] ?? diskError("failed", disk, "nothing is recorded of it here"),
      );
      const lengthBytes = inserted.image["virtual-size"];
      if (lengthBytes !== image.lengthBytes) {
        const from = `from ${image.lengthBytes} to ${lengthBytes} bytes`;
        diskError("aborted", disk, `it was resized ${from}; a disk that moves keeps its size`);
      }
      return { name: id, bus, granularityBytes, lengthBytes, node: String(inserted["node-name"]), image };
    }),
  );
}

/** The node and file that each disk of a running VM stands on, by the disk's id; those that QEMU does not have are left out. */
export async function attachedNodes(
  { definition }: ManagedVm,
  qmp: QmpClient,
): Promise<Map<string, { readonly node: string; readonly filename: string }>> {
  const devices = definition.disks.length === 0 ? [] : await qmp.execute<BlockDevice[]>("query-block");
  const found = new Map<string, { node: string; filename: string }>();
  for (const disk of definition.disks) {
    const inserted = deviceOf(devices, disk);
    if (!inserted) continue;
    found.set(disk.id, { node: String(inserted["node-name"]), filename: inserted.image.filename });
  }
  return found;
}

/** Takes note of the disks of a VM that somebody else started. */
export async function adoptDisks(vm: ManagedVm, qmp: QmpClient): Promise<void> {
  const { definition, store } = vm;
  if (definition.disks.length === 0) return;
  await store.images.prepare();
  const devices = await qmp.execute<BlockDevice[]>("query-block");
  const current = await store.images.current();
  const next: Record<string, string> = {};
  for (const disk of definition.disks) {
    const { filename, format } = findDevice(devices, disk).image;
    const known = current.images[disk.id] && (await store.images.read(current.images[disk.id]));
    if (known && store.images.pathOf(known) === filename) {
      next[disk.id] = known.id;
      continue;
    }
    if (known)
      diskError("failed", disk, `QEMU has ${filename}, and ${store.images.pathOf(known)} is recorded here`);
    if (disk.file !== null && resolve(filename) !== disk.file) {
      diskError("failed", disk, `QEMU has ${filename}, the definition says ${disk.file}`);
    }
    if (format !== "raw" && format !== "qcow2")
      diskError("failed", disk, `its format ${format} is not supported`);
    const image = describeExternal(store.images, disk.id, filename, format);
    await store.images.write(image);
    next[disk.id] = image.id;
  }
  await store.images.setCurrent({ ...current, images: next });
}

function findDevice(devices: readonly BlockDevice[], disk: VmDisk): NonNullable<BlockDevice["inserted"]> {
  return deviceOf(devices, disk) ?? diskError("failed", disk, "QEMU has no block device of that id");
}

function deviceOf(devices: readonly BlockDevice[], { id }: VmDisk): BlockDevice["inserted"] {
  const found = devices.find(
    ({ device, qdev, inserted }) =>
      inserted?.["node-name"] === id || device === id || qdev === id || qdev?.includes(`/peripheral/${id}/`),
  );
  return found?.inserted;
}

async function overlayOn(
  qmp: QmpClient,
  images: ImageStore,
  below: ImageDescriptor,
  granularityBytes: number,
): Promise<string> {
  const overlay = images.describe(below.disk, below.lengthBytes, below.id);
  await createOverlay(qmp, images, overlay, below, granularityBytes);
  await images.write(overlay);
  return overlay.id;
}

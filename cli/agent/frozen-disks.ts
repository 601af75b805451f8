/**
 * The disks of a VM in a checkpoint or a seed: at one instant, of the pause or while the VM runs, new images take over what the VM writes, and those under
 * them stay as they are.
 *
 *     prepare    new images are made and recorded as what the VM writes to; QEMU has them ready, the VM does not use them
 *     freeze     QEMU puts all of them above the old ones, in one transaction
 *     settle     the leg is over: what was not put in place goes
 *
 * The record comes first, since a new image that is empty reads as the one under it: whatever is lost before the freezing, a
 * VM that starts on it has all its data. An agent that finds a QEMU which never came to the freezing takes the record back.
 */

import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { VmDisk } from "../config/vm-definition.ts";
import { chainNodes, nodeName } from "../disk/block-nodes.ts";
import { completeImage, incompleteUnder } from "../disk/frozen-images.ts";
import { createOverlay } from "../disk/image-creation.ts";
import type { CurrentDisks, ImageDescriptor } from "../disk/image-store.ts";
import type { LegDisk } from "../leg/source-disks.ts";
import type { QmpClient } from "../qemu/qmp-client.ts";
import type { Agent } from "./agent.ts";
import type { ManagedVm } from "./managed-vm.ts";
import { attachedNodes } from "./vm-disks.ts";

/** The new images of one copy. Settle them whatever happens. */
export class FrozenDisks {
  private readonly vm: ManagedVm;
  private readonly qmp: QmpClient;
  private readonly before: CurrentDisks;
  private readonly made: { readonly disk: LegDisk; readonly overlay: ImageDescriptor }[] = [];
  private isUsed = false;

  private constructor(vm: ManagedVm, qmp: QmpClient, before: CurrentDisks) {
    this.vm = vm;
    this.qmp = qmp;
    this.before = before;
  }

  /** Makes them ready. Throws OperationError; nothing is left then. */
  static async prepare(vm: ManagedVm, qmp: QmpClient, disks: readonly LegDisk[]): Promise<FrozenDisks> {
    const { images } = vm.store;
    const prepared = new FrozenDisks(vm, qmp, await images.current());
    try {
      for (const disk of disks) await prepared.make(disk);
      const next = Object.fromEntries(prepared.made.map(({ disk, overlay }) => [disk.name, overlay.id]));
      if (disks.length > 0) {
        await images.setCurrent({ ...prepared.before, images: { ...prepared.before.images, ...next } });
      }
      return prepared;
    } catch (error) {
      await prepared.settle();
      throw error;
    }
  }

  /** From now on the VM writes to the new images. Throws OperationError; then to the old ones. */
  async freeze(): Promise<void> {
    if (this.made.length === 0) return;
    const actions = this.made.map(({ disk: { node }, overlay }) => ({
      type: "blockdev-snapshot",
      data: { node, overlay: nodeName(overlay.id) },
    }));
    // If the answer is lost nobody knows whether it was done; new images that are recorded and not used do no harm.
    this.isUsed = true;
    try {
      await this.qmp.execute("transaction", { actions });
    } catch (error) {
      this.isUsed = this.qmp.isClosed;
      throw error;
    }
  }

  /** Takes back what is not used. */
  async settle(): Promise<void> {
    if (this.isUsed) return;
    const { images } = this.vm.store;
    if (this.made.length > 0) await images.setCurrent(this.before);
    for (const { overlay } of this.made) {
      if (!this.qmp.isClosed) await removeNode(this.qmp, overlay.id);
      await rm(join(images.path, `${overlay.id}.json`), { force: true });
      await rm(images.pathOf(overlay), { force: true });
    }
  }

  private async make(disk: LegDisk): Promise<void> {
    const { images } = this.vm.store;
    const { image, granularityBytes, name } = disk;
    const overlay = images.describe(image.disk, image.lengthBytes, image.id);
    await createOverlay(this.qmp, images, overlay, image, granularityBytes);
    this.made.push({ disk, overlay });
    await images.write(overlay);
    const { cache } = this.vm.definition.disks.find(({ id }) => id === name) as VmDisk;
    const [top] = chainNodes(images, [{ ...overlay, backing: null }], { writable: true, cache });
    await this.qmp.execute("blockdev-add", top);
  }
}

/**
 * A QEMU that is found again: where a copy has recorded new images and never came to the freezing, the VM writes to the
 * ones under them, and they are recorded again.
 */
export async function recognizeDisks(vm: ManagedVm, qmp: QmpClient): Promise<void> {
  const { images } = vm.store;
  const current = await images.current();
  const next = { ...current.images };
  const unused: string[] = [];
  for (const [disk, { node, filename }] of await attachedNodes(vm, qmp)) {
    const isOn = (image: ImageDescriptor) => node === nodeName(image.id) || filename === images.pathOf(image);
    const recorded = current.images[disk] === undefined ? null : await images.read(current.images[disk]);
    if (recorded === null || recorded.backing === null || isOn(recorded)) continue;
    const under = await images.read(recorded.backing);
    // One that has digests is complete: no VM ever writes to it.
    if (under.digests !== null || !isOn(under)) continue;
    next[disk] = under.id;
    unused.push(recorded.id);
  }
  if (unused.length === 0) return;
  await images.setCurrent({ ...current, images: next });
  for (const id of unused) await removeNode(qmp, id);
  await vm.store.sweepImages();
}

/**
 * Images that were frozen for a copy which failed before all of them was read get their digests: until then nothing can
 * be compared with what lies above them. Does nothing where there are none.
 */
export async function completeFrozenImages(
  agent: Agent,
  vm: ManagedVm,
  mayGoOn: () => boolean = () => true,
): Promise<void> {
  const { images } = vm.store;
  const { images: current } = await images.current();
  for (const { id } of vm.definition.disks) {
    if (current[id] === undefined) continue;
    for (const image of await incompleteUnder(images, current[id])) {
      agent.log.info(
        { vm: vm.name, disk: id, image: image.id },
        "reading an image that a checkpoint or a seed has left",
      );
      const key = await agent.keys.readOrMake(vm.name);
      if (!(await completeImage(agent.core, key, images, image, mayGoOn))) return;
    }
  }
}

async function removeNode(qmp: QmpClient, image: string): Promise<void> {
  await qmp.execute("blockdev-del", { "node-name": nodeName(image) }).catch(() => {});
}

/** The files that an operator gives a VM as disks: checked, and described as images. */

import { access, constants, stat } from "node:fs/promises";
import { probeFormat } from "../../src/disk/index.ts";
import { diskLimits } from "../../src/generation/disks.ts";
import type { VmDefinition, VmDisk } from "../config/vm-definition.ts";
import { openFileSource } from "../disk/file-source.ts";
import { backingFilesOf, describeExternal } from "../disk/image-content.ts";
import type { ImageDescriptor, ImageStore } from "../disk/image-store.ts";
import { messageOf, OperationError } from "../errors.ts";
import type { ManagedVm } from "./managed-vm.ts";

/**
 * The definition with formats and sizes of the operator's files filled in: what a guest writes to a raw disk later must
 * not decide how it is read. Throws OperationError "usage" unless the files are images that can be moved.
 */
export async function resolveDisks(definition: VmDefinition, images: ImageStore): Promise<VmDefinition> {
  const { images: current } = await images.current();
  const disks: VmDisk[] = [];
  for (const disk of definition.disks) {
    if (disk.file === null) {
      if (current[disk.id] === undefined)
        diskError("usage", disk, "it has no file; name an image in its field 'file'");
      disks.push(disk);
      continue;
    }
    try {
      await access(disk.file, constants.R_OK | constants.W_OK);
      const { lengthBytes, imageFormat } = await describeFile(images, disk);
      backingFilesOf(disk.file, imageFormat);
      if (lengthBytes % diskLimits.sectorBytes !== 0) {
        throw new Error(
          `${disk.file} has ${lengthBytes} bytes, which is no multiple of ${diskLimits.sectorBytes}`,
        );
      }
      if (disk.sizeBytes !== null && disk.sizeBytes !== lengthBytes) {
        throw new Error(`${disk.file} has ${lengthBytes} bytes, the definition says ${disk.sizeBytes}`);
      }
      disks.push({ ...disk, format: imageFormat, sizeBytes: lengthBytes });
    } catch (error) {
      diskError("usage", disk, messageOf(error));
    }
  }
  return { ...definition, disks };
}

/** A disk whose definition names another file than before begins with that one. */
export async function forgetReplacedFiles(vm: ManagedVm, next: VmDefinition): Promise<void> {
  const { images } = vm.store;
  const current = await images.current();
  const kept = { ...current.images };
  const aside = [...current.aside];
  for (const { id, file } of vm.definition.disks) {
    const replaced = next.disks.find((disk) => disk.id === id)?.file;
    if (replaced === file || kept[id] === undefined) continue;
    aside.push(kept[id]);
    delete kept[id];
  }
  if (aside.length > current.aside.length) await images.setCurrent({ ...current, images: kept, aside });
}

/** A descriptor of the file that a definition names. Throws OperationError. */
export async function describeFile(images: ImageStore, disk: VmDisk): Promise<ImageDescriptor> {
  const { file } = disk;
  if (file === null) return diskError("failed", disk, "it has no file, and no image of it is here");
  if (!(await stat(file)).isFile()) diskError("failed", disk, `${file} is not a regular file`);
  return describeExternal(images, disk.id, file, disk.format ?? formatOf(file));
}

function formatOf(path: string): "raw" | "qcow2" {
  const source = openFileSource(path);
  try {
    return probeFormat(source);
  } finally {
    source.close();
  }
}

/** Throws OperationError about a disk of a definition. */
export function diskError(reason: "usage" | "failed" | "aborted", disk: VmDisk, why: string): never {
  throw new OperationError(reason, `Cannot use disk ${disk.id}: ${why}`);
}

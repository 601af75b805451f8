/** Making qcow2 images, by a QEMU: the VM's own or a block host. */

import { randomBytes } from "node:crypto";
import { closeSync, openSync } from "node:fs";
import { rm } from "node:fs/promises";
import { basename, isAbsolute } from "node:path";
import { OperationError } from "../errors.ts";
import { giveFile } from "../qemu/confinement-files.ts";
import type { QmpClient } from "../qemu/qmp-client.ts";
import { storeError } from "../store/atomic-file.ts";
import { runBlockJob } from "./block-job.ts";
import { sinceBitmapName } from "./dirty-bitmaps.ts";
import type { ImageDescriptor, ImageStore } from "./image-store.ts";

/** A new image. */
export interface NewImage {
  readonly path: string;
  readonly lengthBytes: number;
  /** What its header names under it; null if it has everything itself. */
  readonly backing: { readonly file: string; readonly format: "raw" | "qcow2" } | null;
  /** A persistent dirty bitmap that the VM finds in it. */
  readonly bitmap: { readonly name: string; readonly granularityBytes: number } | null;
}

/** Makes a qcow2 image in a new file, for QEMU's user alone. Throws OperationError; nothing of ours is left then. */
export async function createImage(qmp: QmpClient, image: NewImage): Promise<void> {
  const { path, lengthBytes, backing, bitmap } = image;
  const node = `new-${randomBytes(4).toString("hex")}`;
  const failed = (cause: unknown) => {
    const action = `Cannot make disk image ${path}`;
    if (!(cause instanceof OperationError)) return storeError(action, cause);
    return new OperationError(cause.reason, `${action}: ${cause.message}`, { cause });
  };
  try {
    closeSync(openSync(path, "wx", 0o600));
  } catch (error) {
    // A file that was there already is not ours to remove.
    throw failed(error);
  }
  try {
    await giveFile(path, qmp.owner);
    await qmp.execute("blockdev-add", { driver: "file", filename: path, "node-name": `${node}-f` });
    await runBlockJob(qmp, node, "blockdev-create", {
      options: {
        driver: "qcow2",
        file: `${node}-f`,
        size: lengthBytes,
        ...(backing === null ? {} : { "backing-file": backing.file, "backing-fmt": backing.format }),
      },
    });
    if (bitmap !== null) {
      await qmp.execute("blockdev-add", {
        driver: "qcow2",
        "node-name": node,
        file: `${node}-f`,
        backing: null,
      });
      const { name, granularityBytes: granularity } = bitmap;
      await qmp.execute("block-dirty-bitmap-add", { node, name, granularity, persistent: true });
      await qmp.execute("blockdev-del", { "node-name": node });
    }
    await qmp.execute("blockdev-del", { "node-name": `${node}-f` });
  } catch (error) {
    // It may be the VM's own QEMU, which goes on. A node that was not made yet cannot be removed.
    for (const name of [node, `${node}-f`]) {
      await qmp.execute("blockdev-del", { "node-name": name }).catch(() => {});
    }
    await rm(path, { force: true });
    throw failed(error);
  }
}

/** Makes the file of an image over a complete one, with a bitmap of what changes since. The descriptor is the caller's. */
export async function createOverlay(
  qmp: QmpClient,
  images: ImageStore,
  overlay: ImageDescriptor,
  below: ImageDescriptor,
  granularityBytes: number,
): Promise<void> {
  await createImage(qmp, {
    path: images.pathOf(overlay),
    lengthBytes: overlay.lengthBytes,
    backing: { file: headerName(images, below), format: below.imageFormat },
    bitmap: { name: sinceBitmapName(below.id), granularityBytes },
  });
}

/** What an image's header says of the one under it: a name in the same folder, or the operator's path. */
export function headerName(images: ImageStore, below: ImageDescriptor): string {
  return isAbsolute(below.file) ? below.file : basename(images.pathOf(below));
}

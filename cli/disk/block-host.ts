/**
 * A QEMU without a machine that works on disk images: it makes them, takes what a leg brings over NBD, and merges
 * them while no VM runs. It is the same program as the VM's, so images are never written by another version.
 */

import { rm } from "node:fs/promises";
import { join } from "node:path";
import { OperationError } from "../errors.ts";
import { escapeCommas } from "../qemu/arguments.ts";
import { type Confinement, unconfined } from "../qemu/confinement.ts";
import { probeQemu } from "../qemu/probe.ts";
import { killQemu, launchQemu, type QemuProcess, qmpSocketPath } from "../qemu/process.ts";
import type { QmpClient } from "../qemu/qmp-client.ts";
import type { QmpObject } from "../qemu/qmp-messages.ts";
import { qemuSocketPath } from "../qemu/unix-socket.ts";
import { storeError } from "../store/atomic-file.ts";
import { createImage, type NewImage } from "./image-creation.ts";

const exportId = "bfmig-write";

/** The folder of a VM's block host. */
export function blockHostFolder(runPath: string): string {
  return join(runPath, "blocks");
}

/** Ends a block host that a dead agent left: it would keep images locked. */
export async function killBlockHost(runPath: string): Promise<void> {
  await killQemu(blockHostFolder(runPath));
}

/** A running block host. Close it whatever happens. */
export class BlockHost {
  readonly process: QemuProcess;
  private readonly folder: string;

  private constructor(process: QemuProcess, folder: string) {
    this.process = process;
    this.folder = folder;
  }

  /** Starts one for a VM; one that was left is ended first. `unconfined` by default. Throws OperationError. */
  static async start(
    binary: string,
    runPath: string,
    confinement: Confinement = unconfined,
  ): Promise<BlockHost> {
    const folder = blockHostFolder(runPath);
    await killQemu(folder);
    const { path } = await probeQemu(binary);
    const args = [
      ...["-no-user-config", "-nodefaults", "-machine", "none", "-accel", "tcg", "-display", "none", "-S"],
      ...["-qmp", `unix:${escapeCommas(qmpSocketPath(folder))},server=on,wait=off`],
    ];
    const options = { runDir: folder, name: "disk images", confinement };
    return new BlockHost(await launchQemu(path, args, options), folder);
  }

  get qmp(): QmpClient {
    return this.process.qmp;
  }

  /** Makes a qcow2 image in a new file, for QEMU's user alone. Throws OperationError. */
  async create(image: NewImage): Promise<void> {
    await createImage(this.qmp, image);
  }

  /** Opens a chain of nodes (lowest first). */
  async open(nodes: readonly QmpObject[]): Promise<void> {
    for (const node of nodes) {
      try {
        await this.qmp.execute("blockdev-add", node);
      } catch (error) {
        const { filename } = node["file"] as { filename: string };
        throw storeError(`Cannot open disk image ${filename}`, error);
      }
    }
  }

  /** Lets nodes be written over NBD, each under its own name. Returns the socket's path. */
  async exportWritable(nodes: readonly string[]): Promise<string> {
    const path = qemuSocketPath(this.folder, "nbd.sock");
    await rm(path, { force: true });
    await this.qmp.execute("nbd-server-start", { addr: { type: "unix", data: { path } } });
    for (const node of nodes) {
      await this.qmp.execute("block-export-add", {
        type: "nbd",
        id: `${exportId}-${node}`,
        "node-name": node,
        name: node,
        writable: true,
      });
    }
    return path;
  }

  /** Ends it; images are closed and free then. */
  async close(): Promise<void> {
    await this.process.quit();
  }

  /** Ends it at once, when nothing of what it wrote matters any more. */
  async kill(): Promise<void> {
    await this.process.kill();
  }

  /** Throws unless it still runs: a leg must notice that it is gone. */
  check(): void {
    if (this.qmp.isClosed)
      throw new OperationError("failed", "The QEMU that writes the disk images has ended");
  }
}

/** The VM's disks, read-only over NBD on a Unix socket of this agent, for one leg. */

import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import { messageOf, OperationError } from "../errors.ts";
import { NbdClient } from "../nbd/client.ts";
import type { QmpClient } from "../qemu/qmp-client.ts";
import { QmpError } from "../qemu/qmp-messages.ts";
import { preparePrivateSocket } from "../qemu/unix-socket.ts";

const exportPrefix = "bfmig-read-";
const deletedTimeoutMs = 10_000;

/** What of a disk an export shows beside its content. */
export interface ExportView {
  readonly node: string;
  /** A bitmap that records no more. */
  readonly bitmap: string | null;
  /** How deep in the chain of images blocks are. */
  readonly allocationDepth: boolean;
}

/**
 * Exports of one QEMU. What is asked of it is done one after the other: `nbd-server-stop` waits in QEMU for clients that are
 * in their handshake, and QEMU 7.2 lets nothing else go on meanwhile, not even these clients or the VM.
 */
export class DiskExports {
  private readonly qmp: QmpClient;
  private readonly socketPath: string;
  /** By node. Ids are numbered: the nodes of a VM that was attached may have names that no id can have. */
  private readonly open = new Map<string, { readonly id: string; client: NbdClient | null }>();
  private opened = 0;
  private isServing = false;
  private isOver = false;
  private work: Promise<unknown> = Promise.resolve();

  constructor(qmp: QmpClient, socketPath: string) {
    this.qmp = qmp;
    this.socketPath = socketPath;
  }

  /** Makes QEMU listen. Exports that a leg was cut off with are removed before. Throws OperationError. */
  async start(): Promise<void> {
    // Without our socket there was no leg: a server that runs then is somebody else's.
    if (existsSync(this.socketPath)) await removeLeftExports(this.qmp);
    await preparePrivateSocket(this.socketPath);
    await rm(this.socketPath, { force: true });
    try {
      await this.qmp.execute("nbd-server-start", { addr: { type: "unix", data: { path: this.socketPath } } });
    } catch (error) {
      if (!(error instanceof QmpError)) throw error;
      throw new OperationError(
        "failed",
        `Cannot read the VM's disks: ${error.description}; another NBD server of this QEMU is in the way`,
        { cause: error },
      );
    }
    this.isServing = true;
  }

  /** Exports a disk and connects to it. Throws OperationError. */
  add(view: ExportView): Promise<NbdClient> {
    return this.inOrder(async () => {
      if (this.isOver) throw new OperationError("failed", `Cannot read disk ${view.node}: the leg is over`);
      return await this.addNow(view);
    });
  }

  /** Takes an export back; resolves when QEMU has let go of the disk and its bitmap. */
  remove(node: string): Promise<void> {
    return this.inOrder(() => this.removeNow(node));
  }

  /** Takes back whatever is left and ends the server. After it no bitmap is exported, and nothing can be added. */
  async stop(): Promise<void> {
    this.isOver = true;
    await this.inOrder(() => this.stopNow());
  }

  private inOrder<T>(action: () => Promise<T>): Promise<T> {
    const next = this.work.then(action);
    this.work = next.catch(() => {});
    return next;
  }

  private async addNow({ node, bitmap, allocationDepth }: ExportView): Promise<NbdClient> {
    const id = `${exportPrefix}${++this.opened}`;
    await this.qmp.execute("block-export-add", {
      type: "nbd",
      id,
      "node-name": node,
      name: node,
      writable: false,
      "allocation-depth": allocationDepth,
      bitmaps: bitmap === null ? [] : [bitmap],
    });
    const open: { readonly id: string; client: NbdClient | null } = { id, client: null };
    this.open.set(node, open);
    const contexts = ["base:allocation"];
    if (bitmap !== null) contexts.push(bitmapContext(bitmap));
    if (allocationDepth) contexts.push(depthContext);
    const client = await NbdClient.connect({
      socketPath: this.socketPath,
      exportName: node,
      contexts,
    }).catch(async (error) => {
      await this.untilNoticed();
      throw error;
    });
    open.client = client;
    const missing = contexts.filter((name) => !client.contexts.includes(name));
    if (missing.length > 0) {
      throw new OperationError(
        "failed",
        `Cannot read disk ${node}: QEMU does not tell ${missing.join(", ")}`,
      );
    }
    return client;
  }

  private async removeNow(node: string): Promise<void> {
    const open = this.open.get(node);
    if (open === undefined) return;
    this.open.delete(node);
    await open.client?.disconnect().catch(() => {});
    await deleteExport(this.qmp, open.id);
  }

  private async stopNow(): Promise<void> {
    try {
      for (const node of [...this.open.keys()]) await this.removeNow(node);
      if (!this.isServing) return;
      this.isServing = false;
      await this.qmp.execute("nbd-server-stop");
    } finally {
      // QEMU may be gone, and leave it.
      await rm(this.socketPath, { force: true });
    }
  }

  /** A connection that failed in its handshake is closed: QEMU's main loop sees it before it has answered twice. */
  private async untilNoticed(): Promise<void> {
    for (let times = 0; times < 2; times++) await this.qmp.execute("query-status").catch(() => {});
  }
}

/** Context that tells which blocks a bitmap has marked. */
export function bitmapContext(bitmap: string): string {
  return `qemu:dirty-bitmap:${bitmap}`;
}

/** Context that tells how many images lie over the one that has a block; 1: the one that the VM writes to. */
export const depthContext = "qemu:allocation-depth";

/** Removes exports that an agent left when it was ended in a leg, with the server if nobody else uses it. */
export async function removeLeftExports(qmp: QmpClient): Promise<void> {
  const exports = await qmp.execute<{ id: string }[]>("query-block-exports");
  const left = exports.filter(({ id }) => id.startsWith(exportPrefix));
  for (const { id } of left) await deleteExport(qmp, id);
  if (exports.length > left.length) return;
  await qmp.execute("nbd-server-stop").catch((error) => {
    // There was none: nothing to stop.
    if (!(error instanceof QmpError)) throw error;
  });
}

async function deleteExport(qmp: QmpClient, id: string): Promise<void> {
  const deleted = qmp.waitForEvent("BLOCK_EXPORT_DELETED", {
    where: (data) => data["id"] === id,
    timeoutMs: deletedTimeoutMs,
  });
  deleted.catch(() => {});
  try {
    await qmp.execute("block-export-del", { id, mode: "hard" });
  } catch (error) {
    // It is gone already, with its server.
    if (error instanceof QmpError && error.errorClass !== "CommandNotFound") return;
    throw new OperationError("failed", `Cannot end an export of a disk: ${messageOf(error)}`, {
      cause: error,
    });
  }
  await deleted;
}

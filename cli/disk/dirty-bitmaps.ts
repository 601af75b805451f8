/**
 * Dirty bitmaps of a VM's disks in its QEMU.
 *
 *     bfmig-since-<image>   what changed since the image under the VM's own was complete: since a generation;
 *                           persistent, never exported, never changed by a leg
 *     bfmig-round-<n>       what changes while a leg reads the round before; transient
 *     bfmig-start           a copy of the first one as it was when the leg began; transient
 *
 * So a leg that fails, or whose agent dies, loses nothing of what was recorded. QEMU dies if a persistent bitmap is
 * exported when it inactivates its disks: only transient ones ever are.
 */

import type { QmpClient } from "../qemu/qmp-client.ts";
import type { QmpObject } from "../qemu/qmp-messages.ts";

const roundPrefix = "bfmig-round-";
const startName = "bfmig-start";

/** Granularity where nothing else is configured, in bytes. */
export const defaultGranularityBytes = 65536;

/** A bitmap as QEMU describes it. */
export interface BitmapInfo {
  readonly name: string;
  /** Bytes marked. */
  readonly count: number;
  readonly granularity: number;
  readonly recording: boolean;
  readonly busy: boolean;
  readonly persistent: boolean;
  readonly inconsistent?: boolean;
}

/** A block node with what matters here. */
export interface BlockNodeInfo {
  readonly "node-name": string;
  readonly "dirty-bitmaps"?: readonly BitmapInfo[];
  readonly image: { readonly "virtual-size": number };
}

/** Name of the bitmap that records what changed since an image was complete. */
export function sinceBitmapName(imageId: string): string {
  return `bfmig-since-${imageId}`;
}

/** Nodes by name. */
export async function blockNodes(qmp: QmpClient): Promise<Map<string, BlockNodeInfo>> {
  const nodes = await qmp.execute<BlockNodeInfo[]>("query-named-block-nodes", { flat: true });
  return new Map(nodes.map((node) => [node["node-name"], node]));
}

/** The bitmaps of a node. */
export function bitmapsOf(nodes: ReadonlyMap<string, BlockNodeInfo>, node: string): readonly BitmapInfo[] {
  return nodes.get(node)?.["dirty-bitmaps"] ?? [];
}

/** Why a bitmap of a generation cannot be trusted; null if it has recorded all the time. */
export function distrust(bitmap: BitmapInfo | undefined): string | null {
  if (bitmap === undefined) return "it is not there";
  if (bitmap.inconsistent) return "QEMU did not end in order and the bitmap is inconsistent";
  return bitmap.recording ? null : "it was switched off";
}

/** A disk whose rounds begin. */
export interface RoundStart {
  readonly node: string;
  /** The bitmap since the last generation, to begin with; null where its place is taken by something else. */
  readonly since: BitmapInfo | null;
  readonly granularityBytes: number;
}

/** The transient bitmaps of one leg. */
export class RoundBitmaps {
  private readonly qmp: QmpClient;
  private readonly starts: readonly RoundStart[];
  private round = 0;

  constructor(qmp: QmpClient, starts: readonly RoundStart[]) {
    this.qmp = qmp;
    this.starts = starts;
  }

  /** At one instant for all disks: records from now on, and keeps what was recorded so far as the first round. */
  async begin(): Promise<void> {
    await removeRoundBitmaps(
      this.qmp,
      this.starts.map(({ node }) => node),
    );
    this.round = 1;
    const actions: QmpObject[] = [];
    for (const { node, since, granularityBytes } of this.starts) {
      actions.push(adding(node, this.recording, granularityBytes, false));
      if (since === null) continue;
      actions.push(adding(node, startName, since.granularity, true));
      actions.push({
        type: "block-dirty-bitmap-merge",
        data: { node, target: startName, bitmaps: [since.name] },
      });
    }
    await this.qmp.execute("transaction", { actions });
  }

  /** Name of the bitmap to read in the current round; null in a first round that has none for the node. */
  readable(node: string): string | null {
    if (this.round > 1) return `${roundPrefix}${this.round - 1}`;
    return this.starts.find((start) => start.node === node)?.since ? startName : null;
  }

  /** Ends the current round and begins the next, at one instant for all disks. `isLast`: nothing is recorded any more. */
  async rotate(isLast: boolean): Promise<void> {
    const before = this.starts.map(({ node }) => ({ node, name: this.readable(node) }));
    const ended = this.recording;
    const next = `${roundPrefix}${this.round + 1}`;
    const actions: QmpObject[] = [];
    for (const { node, granularityBytes } of this.starts) {
      if (!isLast) actions.push(adding(node, next, granularityBytes, false));
      actions.push({ type: "block-dirty-bitmap-disable", data: { node, name: ended } });
    }
    await this.qmp.execute("transaction", { actions });
    this.round++;
    for (const { node, name } of before) {
      if (name !== null) await this.qmp.execute("block-dirty-bitmap-remove", { node, name });
    }
  }

  /** Bytes that the current recording has marked, in all disks. */
  async dirtyBytes(): Promise<number> {
    const nodes = await blockNodes(this.qmp);
    let total = 0;
    for (const { node } of this.starts) {
      total += bitmapsOf(nodes, node).find(({ name }) => name === this.recording)?.count ?? 0;
    }
    return total;
  }

  /** Removes them. */
  async remove(): Promise<void> {
    await removeRoundBitmaps(
      this.qmp,
      this.starts.map(({ node }) => node),
    );
  }

  private get recording(): string {
    return `${roundPrefix}${this.round}`;
  }
}

/** Removes what a leg, this one or one that was cut off, has left. Exports that hold them must be gone. */
export async function removeRoundBitmaps(qmp: QmpClient, nodes: readonly string[]): Promise<void> {
  const found = await blockNodes(qmp);
  for (const node of nodes) {
    for (const { name } of bitmapsOf(found, node)) {
      if (name !== startName && !name.startsWith(roundPrefix)) continue;
      await qmp.execute("block-dirty-bitmap-remove", { node, name });
    }
  }
}

function adding(node: string, name: string, granularity: number, disabled: boolean): QmpObject {
  return {
    type: "block-dirty-bitmap-add",
    data: { node, name, granularity, persistent: false, ...(disabled ? { disabled: true } : {}) },
  };
}

/** What a leg needs at the source, and what it gives. */

import type { Core } from "../../src/core.ts";
import type { RecordCounts } from "../../src/delta/vocabulary.ts";
import type { Accelerator } from "../../src/generation/manifest.ts";
import type { DiskBus, VmDefinition } from "../config/vm-definition.ts";
import type { QmpClient } from "../qemu/qmp-client.ts";
import type { StoredGeneration } from "../store/generation-reader.ts";
import type { OwnershipRegister } from "../store/ownership.ts";
import type { VmStore } from "../store/vm-store.ts";
import type { PeerConnection } from "../wan/connection.ts";
import type { ProgressEvent } from "./progress.ts";
import type { LegDisk } from "./source-disks.ts";
import type { SourceState } from "./state-machine.ts";

/** What a leg needs from the agent. */
export interface SourceLegContext {
  /** A UUID. */
  readonly legId: string;
  readonly site: string;
  readonly peer: string;
  readonly definition: VmDefinition;
  readonly ramBlock: string;
  readonly accelerator: Accelerator;
  readonly qmp: QmpClient;
  readonly store: VmStore;
  readonly ownership: OwnershipRegister;
  /** The VM's digest key, 32 bytes. */
  readonly key: Uint8Array;
  /** Disks that move with the VM. */
  readonly disks: readonly (LegDisk & { readonly bus: DiskBus })[];
  /** Folder for the migration socket. */
  readonly runPath: string;
  readonly downtimeLimitMs: number;
  readonly signal: AbortSignal;
  readonly connect: () => Promise<PeerConnection>;
  /** A new connection after one was lost. */
  readonly reconnect: () => Promise<PeerConnection>;
  /** How long the leg waits for a lost link while the VM runs. */
  readonly linkTimeoutMs: number;
  /** The link was lost, or is back. */
  readonly onLink: (isUp: boolean) => void;
  readonly onProgress: (event: ProgressEvent) => void;
  readonly onState: (state: SourceState) => void;
  readonly warn: (message: string) => void;
  /** Ends the VM's QEMU at this site after the handover. */
  readonly endQemu: () => Promise<void>;
}

/** What a leg cost. */
export interface LegResult {
  readonly leg: "first" | "return";
  readonly generation: number;
  readonly epoch: number;
  readonly totalMs: number;
  readonly downtimeMs: number;
  readonly ramBytes: number;
  /** Bytes of blocks that were sent, and of their frames on the WAN. */
  readonly diskBytes: number;
  readonly diskWireBytes: number;
  readonly wireBytes: number;
  /** Bytes of frames that were sent again after the link was lost, and how often it came back. */
  readonly resentBytes: number;
  readonly reconnects: number;
  readonly rounds: number;
  readonly pages: RecordCounts;
  /** Records of disks. */
  readonly blocks: RecordCounts;
  readonly root: string;
}

/** How a leg ended: done, or in doubt when the peer did not answer after RELEASED. */
export type SourceOutcome =
  | {
      readonly outcome: "done";
      readonly result: LegResult;
      readonly connection: PeerConnection;
      /** This site's copy; null if it could not be kept. */
      readonly sealed: StoredGeneration | null;
      readonly core: Core;
    }
  | {
      readonly outcome: "in-doubt";
      readonly epoch: number;
      /** What the leg cost, if it turns out that the VM runs at the peer; its downtime is that until now. */
      readonly resultIfThere: () => LegResult;
    };

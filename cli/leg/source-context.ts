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
import type { DivergenceEvent, DivergencePolicy } from "./divergence.ts";
import type { ProgressEvent } from "./progress.ts";
import type { LegDisk } from "./source-disks.ts";
import type { StandingMigration } from "./standing-migration.ts";
import type { KeepState, SourceState } from "./state-machine.ts";
import type { GuestProcess } from "./unwritten-pages.ts";

/** What a leg needs from the agent. */
export interface SourceLegContext {
  /** A UUID. */
  readonly legId: string;
  /** When it was asked for, by `performance.now()`: what came before the leg counts. The leg's own beginning if it is not told. */
  readonly startedAt?: number;
  /** What it is to wait for before it sends anything of the VM; never rejects. */
  readonly predicted?: Promise<unknown>;
  readonly site: string;
  readonly peer: string;
  readonly definition: VmDefinition;
  readonly ramBlock: string;
  readonly accelerator: Accelerator;
  readonly qmp: QmpClient;
  /** The QEMU's process; null if somebody else has started it. */
  readonly guest: GuestProcess | null;
  readonly store: VmStore;
  readonly ownership: OwnershipRegister;
  /** The VM's digest key, 32 bytes. */
  readonly key: Uint8Array;
  /** Disks that move with the VM. */
  readonly disks: readonly (LegDisk & { readonly bus: DiskBus })[];
  /** Folder for the migration socket. */
  readonly runPath: string;
  readonly downtimeLimitMs: number;
  /** What is done if the guest changes faster than the link carries. */
  readonly onDivergence: DivergencePolicy;
  /** The leg's own limit of its rate, in bits a second; null: none. */
  readonly bitsPerSecond: number | null;
  readonly signal: AbortSignal;
  readonly connect: () => Promise<PeerConnection>;
  /** A new connection, after one was lost or beside it. */
  readonly reconnect: () => Promise<PeerConnection>;
  /** Connections that the leg's frames may use, 1 to 16. */
  readonly streams: number;
  /** What frames may use of the link; null: all of it. */
  readonly bytesPerSecond: number | null;
  /** How long the leg waits for a lost link while the VM runs. */
  readonly linkTimeoutMs: number;
  /** The link was lost, or is back. */
  readonly onLink: (isUp: boolean) => void;
  readonly onProgress: (event: ProgressEvent) => void;
  readonly diverged: (event: DivergenceEvent) => void;
  readonly onState: (state: SourceState | KeepState) => void;
  readonly warn: (message: string) => void;
  /** Ends the VM's QEMU at this site after the handover. */
  readonly endQemu: () => Promise<void>;
  /** A migration that is open already; the leg goes on from it if the base is the same, and else cancels it. */
  readonly standing?: StandingMigration | null;
}

/** What a leg cost. */
export interface LegResult {
  readonly leg: "first" | "return";
  /** How it was found out what has changed: from a migration that stood open, or by reading all memory. */
  readonly tracking: "standing" | "scan";
  readonly generation: number;
  readonly epoch: number;
  readonly totalMs: number;
  readonly downtimeMs: number;
  readonly ramBytes: number;
  /** The same, each page counted once. */
  readonly changedBytes: number;
  /** Bytes of blocks that were sent, and of their frames on the WAN. */
  readonly diskBytes: number;
  readonly diskWireBytes: number;
  readonly wireBytes: number;
  /** Bytes of frames that were sent again after the link was lost, and how often it came back. */
  readonly resentBytes: number;
  readonly reconnects: number;
  readonly rounds: number;
  readonly pages: RecordCounts;
  /** Of the pages that QEMU sent, those that were not compared: the guest has never written to them. */
  readonly unwrittenPages: number;
  /** Records of disks. */
  readonly blocks: RecordCounts;
  readonly root: string;
  /** What the next prediction is learned from. */
  readonly measured: LegMeasured;
}

/** What a leg has measured of the hosts and the link. Times in milliseconds, sizes in bytes. */
export interface LegMeasured {
  /** From the start until the peer had said what it holds, and until QEMU's first pass was over. */
  readonly negotiatedMs: number;
  readonly firstPassMs: number;
  /** From then until the VM stood still. */
  readonly roundsMs: number;
  /** Of the link: null where the leg never had enough to send to fill it. */
  readonly bytesPerSecond: number | null;
  readonly rttMs: number | null;
  /** How long the first bytes took from the last of them on until they were acknowledged; null if they say nothing of the link. */
  readonly start: { readonly bytes: number; readonly ms: number } | null;
  /** Frames of memory, and of the device state. */
  readonly pageWireBytes: number;
  readonly deviceWireBytes: number;
  /** When the common state was complete, in milliseconds since 1970; null on a first leg, or if only its digests are here. */
  readonly commonSince: number | null;
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

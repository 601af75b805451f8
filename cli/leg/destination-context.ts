/** What a leg needs at the destination, and what it gives. */

import type { BlockHost } from "../disk/block-host.ts";
import type { ImageDescriptor } from "../disk/image-store.ts";
import type { QemuProcess } from "../qemu/process.ts";
import type { StoredGeneration } from "../store/generation-reader.ts";
import type { OwnershipRegister } from "../store/ownership.ts";
import type { VmStore } from "../store/vm-store.ts";
import type { PeerConnection } from "../wan/connection.ts";
import type { MessageOf } from "../wan/messages.ts";
import type { ArrivingDisk } from "./destination-disks.ts";
import type { DestinationState, KeeperState } from "./state-machine.ts";

/** What a leg needs from the agent. */
export interface DestinationLegContext {
  readonly site: string;
  readonly connection: PeerConnection;
  readonly prepare: MessageOf<"prepare">;
  readonly store: VmStore;
  readonly ownership: OwnershipRegister;
  readonly key: Uint8Array;
  readonly runPath: string;
  /** Disks that move with the VM, as `prepare` has them, with what this site decides about them. */
  readonly disks: readonly ArrivingDisk[];
  readonly startBlockHost: () => Promise<BlockHost>;
  /**
   * Starts the VM's QEMU on a RAM image and on disk images (newest first for each disk), waiting and paused. A checkpoint
   * never calls it.
   */
  readonly launch: (
    imagePath: string,
    chains: readonly (readonly ImageDescriptor[])[],
  ) => Promise<QemuProcess>;
  /** Serialises changes of the VM's ownership record. */
  readonly exclusively: <T>(action: () => Promise<T>) => Promise<T>;
  readonly onState: (state: DestinationState | KeeperState) => void;
  readonly warn: (message: string) => void;
}

/** The generation is in force. */
export interface DestinationResult {
  readonly generation: StoredGeneration;
  /** The VM runs here now; null after a checkpoint, which leaves it where it is. */
  readonly process: QemuProcess | null;
}

/** What the source's data path is given, and what it gives in the end. */

import type { Core } from "../../src/core.ts";
import type { CommonBase } from "./common-base.ts";
import type { EncodeThreads } from "./encode-route.ts";
import type { LegSink } from "./leg-sink.ts";
import type { GuestMapping } from "./unwritten-pages.ts";

/** What the pump works with. */
export interface PumpOptions {
  readonly core: Core;
  readonly sink: LegSink;
  readonly key: Uint8Array;
  readonly base: CommonBase;
  /** What the guest maps of the base, closed by the pump; null: every page is compared. */
  readonly mapping: GuestMapping | null;
  readonly ramBlock: string;
  readonly memoryBytes: number;
  readonly target: {
    readonly generationsPath: string;
    readonly vm: string;
    readonly generation: number;
    readonly legId: string;
  };
  /** True if the VM has disks that move: QEMU's stream then waits for `holdRam(false)` after its beginning. */
  readonly hasDisks: boolean;
  /** True: the device state is not sent when it was read, but by `sendDevice`. */
  readonly holdsDevice?: boolean;
  /** Called once when it turns out that the base does not fit the VM any more. */
  readonly onBaseDropped: (reason: string) => void;
  /** What may encode beside this thread, where it pays; null: nothing. */
  readonly threads: EncodeThreads | null;
}

/** The device state at the end of the stream. */
export interface StreamEnd {
  /** As the store keeps them. */
  readonly frames: readonly Uint8Array[];
  readonly bytes: number;
  /** Bytes of the frames that the peer was sent. */
  readonly wireBytes: number;
  /** Keyed BLAKE3-256 of the device state. */
  readonly digest: Uint8Array;
  /** Number of the last frame. */
  readonly sequence: number;
}

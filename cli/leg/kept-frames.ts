/**
 * Frames that were made before anybody could take them. Their bytes are in the delta of the unfinished generation, so
 * only their lengths are kept in memory.
 *
 *     aside ──deliver: messages, then frames in order──► through, to the link
 */

import { closeSync, openSync, readSync, statSync } from "node:fs";
import { join } from "node:path";
import { OperationError } from "../errors.ts";
import type { Message } from "../wan/messages.ts";
import type { LegSink } from "./leg-sink.ts";

/** Where a pump sends while no leg is under way, and from then on to that leg. */
export class KeptFrames implements LegSink {
  /** Bytes of all frames that were kept. */
  keptBytes = 0;
  private readonly messages: Message[] = [];
  private readonly kept: { readonly sequence: number; readonly length: number }[] = [];
  private through: LegSink | null = null;

  get isAside(): boolean {
    return this.through === null;
  }

  send(message: Message): void {
    if (this.through) this.through.send(message);
    else this.messages.push(message);
  }

  sendFrame(frame: Uint8Array, sequence: number): void {
    if (this.through) this.through.sendFrame(frame, sequence);
    else {
      this.kept.push({ sequence, length: frame.length });
      this.keptBytes += frame.length;
    }
  }

  /**
   * Hands everything that was kept to a leg, and what comes later too. `directory` is that of the unfinished generation;
   * `room` resolves when a frame may be sent, `onFrame` is told of each one before it goes. Throws OperationError if the
   * frames cannot be read.
   */
  async deliver(
    to: LegSink,
    directory: string,
    room: () => Promise<void>,
    onFrame: (sequence: number, bytes: number) => void,
  ): Promise<void> {
    for (const message of this.messages) to.send(message);
    const path = join(directory, "delta");
    // The delta begins with a header of its own.
    let at = statSync(path).size - this.keptBytes;
    // More may come meanwhile.
    for (let i = 0; i < this.kept.length; i++) {
      // If the leg fails this never resolves: nothing may be open then.
      await room();
      const { sequence, length } = this.kept[i];
      const frame = readFrame(path, at, length);
      at += length;
      onFrame(sequence, length);
      to.sendFrame(frame, sequence);
    }
    this.through = to;
  }
}

function readFrame(path: string, at: number, length: number): Uint8Array {
  const file = openSync(path, "r");
  try {
    const frame = new Uint8Array(length);
    for (let done = 0; done < length; ) {
      const got = readSync(file, frame, done, length - done, at + done);
      if (got === 0) throw new OperationError("failed", `Cannot send what was kept: ${path} ends too early`);
      done += got;
    }
    return frame;
  } finally {
    closeSync(file);
  }
}

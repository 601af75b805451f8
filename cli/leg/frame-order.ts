/**
 * The order of a leg that comes over several connections, at the destination. Frames are put in order by their numbers,
 * and the two messages whose place among the frames matters get it: no frame goes on before `begin`, and `finish` does
 * so after the frame that it names. All other messages go on as they come.
 *
 *     main connection  ─► begin, frames, finish ─┐
 *     further ones     ─► frames ────────────────┴─► held until it is their turn ─► the leg
 */

import { decodeFrameHeader } from "../../src/delta/frame.ts";
import { OperationError } from "../errors.ts";
import type { Incoming } from "../wan/connection.ts";
import type { Message, MessageOf } from "../wan/messages.ts";

/** Number of the first frame that crosses the WAN. */
export const firstFrame = 2;
/** Frames that wait for one before them may take so much memory. A source keeps below that what is not acknowledged. */
export const maxSpreadBytes = 128 << 20;
/** And their numbers are less than so much above the last one in order. */
export const maxSpreadFrames = 1 << 16;

/** Puts one leg in order. */
export class FrameOrder {
  private next = firstFrame;
  private hasBegun = false;
  private finish: MessageOf<"finish"> | null = null;
  private heldBytes = 0;
  private readonly held = new Map<number, Uint8Array>();

  /** Takes a message of the main connection. Returns what goes on now, in order. */
  message(message: Message): Incoming[] {
    if (message.type === "begin") {
      this.hasBegun = true;
      return [{ message }, ...this.release()];
    }
    if (message.type !== "finish" || message.sequence < this.next || this.finish) return [{ message }];
    this.finish = message;
    return [];
  }

  /**
   * Takes a frame of any connection. Returns what goes on now, in order; nothing for a frame that has come before. Throws
   * FormatError for what is no frame, OperationError when the source runs further ahead than it may.
   */
  frame(frame: Uint8Array): Incoming[] {
    const { sequence } = decodeFrameHeader(frame);
    if (sequence < this.next || this.held.has(sequence)) return [];
    if (sequence >= this.next + maxSpreadFrames) {
      throw new OperationError(
        "failed",
        `Cannot accept frame ${sequence}: ${this.next} is next, and no frame may be ${maxSpreadFrames} ahead`,
      );
    }
    const isNext = this.hasBegun && sequence === this.next;
    if (!isNext && this.heldBytes + frame.length > maxSpreadBytes) {
      throw new OperationError(
        "failed",
        `Cannot accept frame ${sequence}: ${this.next} is next, and frames that wait for it may have ${maxSpreadBytes} bytes`,
      );
    }
    this.held.set(sequence, frame);
    this.heldBytes += frame.length;
    return isNext ? this.release() : [];
  }

  /** The main connection was lost: the source sends again what has not gone on. */
  forget(): void {
    this.held.clear();
    this.heldBytes = 0;
  }

  private release(): Incoming[] {
    const released: Incoming[] = [];
    for (let frame = this.held.get(this.next); frame; frame = this.held.get(this.next)) {
      this.held.delete(this.next++);
      this.heldBytes -= frame.length;
      released.push({ frame });
      if (this.finish && this.finish.sequence < this.next) {
        released.push({ message: this.finish });
        this.finish = null;
      }
    }
    return released;
  }
}

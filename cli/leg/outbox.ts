/** What a leg has sent and may have to send again: messages and frames in their order. */

import type { Message } from "../wan/messages.ts";

/** Something that was sent. Messages are numbered from 1 for themselves; frames have their own numbers. */
export interface Sent {
  readonly message: Message | null;
  readonly frame: Uint8Array | null;
  readonly number: number;
}

/** Entries that are gone are cut off the array when there are so many. */
const tidyAt = 1024;

/** Messages and frames that may be lost with the connection. */
export class Outbox {
  private entries: Sent[] = [];
  private first = 0;
  private messages = 0;
  private dropped = false;

  /** True while everything that was ever sent is here. */
  get isWhole(): boolean {
    return !this.dropped;
  }

  addMessage(message: Message): void {
    this.entries.push({ message, frame: null, number: ++this.messages });
  }

  addFrame(frame: Uint8Array, sequence: number): void {
    this.entries.push({ message: null, frame, number: sequence });
  }

  /** The peer has stored all frames up to this one: they go, with the messages before them. */
  acknowledged(sequence: number): void {
    let next = this.first;
    for (let i = this.first; i < this.entries.length; i++) {
      const { frame, number } = this.entries[i];
      if (frame === null) continue;
      if (number > sequence) break;
      next = i + 1;
    }
    if (next === this.first) return;
    this.dropped = true;
    this.entries.fill(gone, this.first, next);
    this.first = next;
    if (this.first < tidyAt) return;
    this.entries = this.entries.slice(this.first);
    this.first = 0;
  }

  /** What a peer lacks that has so many messages and all frames up to `sequence`. */
  after(messages: number, sequence: number): Sent[] {
    return this.entries
      .slice(this.first)
      .filter(({ frame, number }) => number > (frame === null ? messages : sequence));
  }
}

/** In place of what was dropped: its frame must not stay in memory. */
const gone: Sent = { message: null, frame: null, number: 0 };

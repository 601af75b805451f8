/** Where the messages and frames of a leg go. */

import type { Message } from "../wan/messages.ts";

/** What takes what the source of a leg sends, in order. It must take everything: pacing is the caller's. */
export interface LegSink {
  /** True while frames are kept and go nowhere so far: they are not in flight. */
  readonly isAside?: boolean;
  send(message: Message): void;
  /** Takes a frame with its number; its bytes must not change afterwards. */
  sendFrame(frame: Uint8Array, sequence: number): void;
}

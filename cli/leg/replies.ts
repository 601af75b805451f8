/** Answers that the peer sends once in a leg: kept until somebody asks for them. */

import { OperationError } from "../errors.ts";
import type { Message, MessageOf } from "../wan/messages.ts";

/** Messages that are answers. */
const replyTypes = ["offer", "prepared", "running", "kept"] as const;
export type ReplyType = (typeof replyTypes)[number];

/** True for an answer. */
export function isReply(message: Message): message is MessageOf<ReplyType> {
  return (replyTypes as readonly string[]).includes(message.type);
}

/** Answers by their type. */
export class Replies {
  private readonly peer: string;
  private readonly received = new Map<ReplyType, MessageOf<ReplyType>>();
  private readonly waiting = new Map<ReplyType, () => void>();

  constructor(peer: string) {
    this.peer = peer;
  }

  /** Takes an answer that came. */
  put(message: MessageOf<ReplyType>): void {
    this.received.set(message.type, message);
    this.waiting.get(message.type)?.();
  }

  /** The answer of that type, as soon as it is there. Rejects with OperationError after the time. */
  wait<T extends ReplyType>(type: T, timeoutMs: number): Promise<MessageOf<T>> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        reject(new OperationError("failed", `${this.peer} sent no '${type}' within ${timeoutMs} ms`));
      }, timeoutMs);
      const look = () => {
        const found = this.received.get(type);
        if (!found) return;
        clearTimeout(timer);
        resolve(found as MessageOf<T>);
      };
      this.waiting.set(type, look);
      look();
    });
  }
}

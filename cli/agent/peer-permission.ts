/** Whether a peer may ask what it asks: about VMs that the configuration does not give it, it learns nothing. */

import { mayMove, maySend } from "../config/permissions.ts";
import type { SiteConfig } from "../config/site-config.ts";
import type { Message } from "../wan/messages.ts";

/** A request that the configuration does not allow. */
export interface Forbidden {
  readonly vm: string;
  /** The line of the configuration that would allow it. */
  readonly missing: string;
}

/** What speaks against a peer's request about one VM; null: nothing, or it is about none. */
export function forbids(peers: SiteConfig["peers"], peer: string, message: Message): Forbidden | null {
  switch (message.type) {
    case "prepare":
      return forbidsSending(peers, peer, message.vm.name);
    case "resume":
    case "join":
      return forbidsSending(peers, peer, message.vm);
    case "settle": {
      const { vm } = message;
      if (mayMove(peers, peer, vm)) return null;
      return { vm, missing: `peers.${peer}.maySend or peers.${peer}.mayReceive: [${vm}]` };
    }
    default:
      return null;
  }
}

function forbidsSending(peers: SiteConfig["peers"], peer: string, vm: string): Forbidden | null {
  return maySend(peers, peer, vm) ? null : { vm, missing: `peers.${peer}.maySend: [${vm}]` };
}

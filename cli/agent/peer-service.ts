/** What authenticated peers may ask of this site. */

import { messageOf, OperationError } from "../errors.ts";
import { type Incoming, type PeerConnection, protocolError } from "../wan/connection.ts";
import type { MessageOf } from "../wan/messages.ts";
import type { Agent } from "./agent.ts";
import { answerClaims } from "./claims.ts";
import { forbids } from "./peer-permission.ts";
import { receiveLeg } from "./receive-leg.ts";
import { answerSettle } from "./settle.ts";

/** Serves one connection to its end. Never rejects: failures are logged and told to the peer. */
export async function servePeer(agent: Agent, connection: PeerConnection): Promise<void> {
  try {
    // A peer keeps a connection ready: its request may come much later, or never.
    for (;;) {
      const incoming = await connection.next(null).catch(() => null);
      if (incoming === null || !(await serve(agent, connection, incoming))) return;
    }
  } catch (error) {
    const reason = error instanceof OperationError && error.reason === "refused" ? "refused" : "failed";
    agent.log.warn({ peer: connection.site, reason: messageOf(error) }, "a peer's request ended");
    connection.send({ type: "abort", reason, message: messageOf(error).slice(0, 1000) });
  } finally {
    connection.close();
  }
}

/** Serves one request. Resolves with true if another one may follow on the connection. */
async function serve(agent: Agent, connection: PeerConnection, incoming: Incoming): Promise<boolean> {
  const message = "message" in incoming ? incoming.message : null;
  const forbidden = message && forbids(agent.config.peers, connection.site, message);
  if (forbidden) {
    agent.log.warn({ peer: connection.site, ...forbidden }, "a peer asked for what it is not permitted");
    connection.send({ type: "abort", reason: "refused", message: "not permitted" });
    return false;
  }
  switch (message?.type) {
    case "prepare":
      await receiveLeg(agent, connection, message);
      return false;
    case "resume":
      return await resumeLeg(agent, connection, message);
    case "join":
      await agent.arrivals.join(connection, message);
      return false;
    case "claims":
      await answerClaims(agent, connection, message);
      return true;
    case "settle":
      await answerSettle(agent, connection, message);
      // A leg that waits for its source would now wait in vain.
      await agent.arrivals.refused(message.vm, (await agent.ownership.read(message.vm)).refusedEpoch);
      return false;
    default:
      throw protocolError(connection.site, "it asks for nothing that this site knows");
  }
}

/** A source is back. If its leg is not known here it may begin again on this connection. */
async function resumeLeg(
  agent: Agent,
  connection: PeerConnection,
  message: MessageOf<"resume">,
): Promise<boolean> {
  if (await agent.arrivals.resume(connection, message)) return false;
  connection.send({ type: "resumed", leg: message.leg, messages: 0, sequence: 1 });
  return true;
}

/** Channels to a peer: a TCP connection, with TLS in it unless the site's configuration has plain text. */

import { connect as connectTcp, type Socket } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { messageOf, OperationError } from "../errors.ts";
import { type TlsCredentials, tlsOptions } from "./tls-credentials.ts";

/** An open channel. */
export interface Channel {
  /** The TCP connection: its counters count what is on the wire. */
  readonly transport: Socket;
  /** What bytes are written to and read from: TLS, or the transport itself. */
  readonly socket: Socket | TLSSocket;
  /** Null in plain text. */
  readonly tls: TLSSocket | null;
}

/**
 * Opens a channel to `wss://HOST:PORT`, or to `ws://HOST:PORT` if there are no credentials. Who is at the other end
 * is not checked here. Throws OperationError "failed".
 */
export async function openChannel(
  url: string,
  credentials: TlsCredentials | null,
  timeoutMs: number,
): Promise<Channel> {
  const isTls = credentials !== null;
  if (url.startsWith("wss:") !== isTls) {
    throw new OperationError("usage", `Cannot reach ${url}: this site speaks ${isTls ? "wss" : "ws"} only`);
  }
  const { hostname, port } = new URL(url);
  const host = hostname.replace(/^\[|\]$/g, "");
  const transport = connectTcp({ host, port: Number(port || (isTls ? 443 : 80)) });
  const late = setTimeout(() => transport.destroy(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
  try {
    await happens(transport, "connect");
    if (credentials === null) return { transport, socket: transport, tls: null };
    const tls = connectTls({ socket: transport, ...tlsOptions(credentials) });
    await happens(tls, "secureConnect");
    return { transport, socket: tls, tls };
  } catch (error) {
    transport.destroy();
    throw new OperationError("failed", `Cannot reach ${url}: ${explain(error)}`, { cause: error });
  } finally {
    clearTimeout(late);
  }
}

/** Waits for an event of a socket; its error or its end comes as a rejection. */
function happens(socket: Socket, event: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const onError = (error: Error) => done(() => reject(error));
    const onClose = () => done(() => reject(new Error("the other end closed the connection")));
    const onEvent = () => done(resolve);
    const done = (action: () => void) => {
      socket.off("close", onClose).off(event, onEvent);
      // An error that comes later is told by whoever uses the socket; it must not end the program before that.
      socket.off("error", onError).on("error", () => {});
      action();
    };
    socket.once("error", onError).once("close", onClose).once(event, onEvent);
  });
}

function explain(error: unknown): string {
  const { code } = error as NodeJS.ErrnoException;
  if (code === "ERR_SSL_WRONG_VERSION_NUMBER" || code === "ERR_SSL_PACKET_LENGTH_TOO_LONG")
    return "it speaks no TLS";
  if (code === "ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION" || code === "ERR_SSL_UNSUPPORTED_PROTOCOL") {
    return "it does not speak TLS 1.3";
  }
  return messageOf(error) || String(code);
}

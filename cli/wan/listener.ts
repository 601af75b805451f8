/**
 * Listening for peers.
 *
 *     TCP ─► gate ─► TLS 1.3 ─► HTTP upgrade ─► certificate, challenge, hello, welcome ─► a peer
 *
 * Until it has proven who it is a connection has one deadline for everything, and counts against the gate's limits.
 */

import { createServer as createHttpServer, type IncomingMessage } from "node:http";
import { type AddressInfo, createServer as createTcpServer, type Server, type Socket } from "node:net";
import { createServer as createTlsServer, TLSSocket } from "node:tls";
import { type WebSocket, WebSocketServer } from "ws";
import { messageOf, OperationError } from "../errors.ts";
import { PeerConnection } from "./connection.ts";
import { ConnectionGate, type Visitor } from "./connection-gate.ts";
import { acceptPeer, type Identity, webSocketOptions } from "./handshake.ts";
import { tlsOptions } from "./tls-credentials.ts";
import type { PeerTrust } from "./tls-peer.ts";

/** Longest time from the first packet to the proof, however little comes at a time. */
export const provingTimeoutMs = 20_000;
const maxHeaderBytes = 8 << 10;
/** Connections that the gate does not let in are told this often at most. */
const tellTurnedAwayEveryMs = 60_000;

/** What a site listens with. */
export interface ListenOptions {
  readonly host: string;
  readonly port: number;
  readonly identity: Identity;
  /** The sites that may connect, and how they prove who they are. */
  readonly peers: Readonly<Record<string, PeerTrust>>;
  readonly onPeer: (connection: PeerConnection) => void;
  /** Somebody at an address was refused, and why; never has what it sent. */
  readonly onRefused: (address: string, reason: string) => void;
}

/** Listens for peers. */
export interface Listener {
  readonly address: AddressInfo;
  close(): Promise<void>;
}

/** A TCP connection from its first packet to its end. */
interface Arrival {
  readonly transport: Socket;
  readonly address: string;
  readonly visitor: Visitor;
  readonly deadline: NodeJS.Timeout;
}

/**
 * Accepts peers at `host:port`. Only `peers` that prove who they are reach `onPeer`; all others are told that they are
 * refused, and no more. Throws OperationError if the port cannot be used.
 */
export async function listen(options: ListenOptions): Promise<Listener> {
  const { host, port, identity } = options;
  const gate = new ConnectionGate();
  const arrivals = new Map<string, Arrival>();
  const http = createHttpServer({ maxHeaderSize: maxHeaderBytes }, (_request, response) => {
    response.writeHead(426, { connection: "close" }).end();
  });
  const tls = identity.tls && createTlsServer(tlsOptions(identity.tls));
  tls?.on("secureConnection", (socket) => http.emit("connection", socket));
  tls?.on("tlsClientError", (error: NodeJS.ErrnoException, socket) => {
    // A connection that merely broke is nobody's fault.
    const arrival = arrivals.get(keyOf(socket));
    if (arrival && error.code?.startsWith("ERR_SSL_")) refused(options, arrival, `no TLS: ${error.code}`);
    arrival?.transport.destroy();
  });
  const sockets = new WebSocketServer({ server: http, ...webSocketOptions });
  sockets.on("connection", (socket: WebSocket, request: IncomingMessage) => {
    const arrival = arrivals.get(keyOf(request.socket));
    if (arrival) void welcome(options, socket, request.socket, arrival);
    else socket.terminate();
  });

  let toldAtMs = Number.NEGATIVE_INFINITY;
  const tcp = createTcpServer((transport) => {
    const address = transport.remoteAddress ?? "unknown";
    transport.on("error", () => {});
    const visitor = gate.enter(address);
    if (typeof visitor === "string") {
      transport.destroy();
      if (performance.now() - toldAtMs < tellTurnedAwayEveryMs) return;
      toldAtMs = performance.now();
      options.onRefused(address, visitor);
      return;
    }
    const onLate = () => {
      options.onRefused(address, `it did not authenticate within ${provingTimeoutMs / 1000} s`);
      transport.destroy();
    };
    const deadline = setTimeout(onLate, provingTimeoutMs).unref();
    const key = keyOf(transport);
    arrivals.set(key, { transport, address, visitor, deadline });
    transport.once("close", () => {
      clearTimeout(deadline);
      visitor.left();
      arrivals.delete(key);
    });
    (tls ?? http).emit("connection", transport);
  });
  await bind(tcp, host, port);
  return {
    address: tcp.address() as AddressInfo,
    close: () =>
      new Promise((resolve) => {
        sockets.close();
        tcp.close(() => resolve());
        for (const { transport } of arrivals.values()) transport.destroy();
      }),
  };
}

async function welcome(
  options: ListenOptions,
  webSocket: WebSocket,
  socket: Socket,
  arrival: Arrival,
): Promise<void> {
  const { transport, address, visitor, deadline } = arrival;
  const connection = new PeerConnection(webSocket, transport);
  const turnAway = () => {
    // What else it sends is neither read nor kept.
    webSocket.pause();
    connection.close();
  };
  try {
    const tls = socket instanceof TLSSocket ? socket : null;
    await acceptPeer(connection, tls, options.identity, options.peers);
  } catch (error) {
    refused(options, arrival, messageOf(error));
    return turnAway();
  }
  clearTimeout(deadline);
  if (!visitor.proven(connection.site)) {
    options.onRefused(address, `site ${connection.site} has too many connections`);
    connection.send({ type: "abort", reason: "failed", message: "too many connections" });
    return turnAway();
  }
  options.onPeer(connection);
}

function refused({ onRefused }: ListenOptions, { address, visitor }: Arrival, reason: string): void {
  const isDropped = visitor.failed();
  onRefused(address, isDropped ? `${reason}; its address has to wait` : reason);
}

/** The other end's address and port: the same for a TLS channel and the connection that it is in. */
function keyOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`;
}

function bind(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (error) => {
      reject(new OperationError("failed", `Cannot listen on ${host}:${port}: ${messageOf(error)}`));
    });
    server.listen(port, host, resolve);
  });
}

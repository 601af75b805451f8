/** Opening connections: dialling a peer, and listening for peers. Nobody gets further without the token. */

import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { WebSocket, WebSocketServer } from "ws";
import { messageOf, OperationError } from "../errors.ts";
import { newNonce, proofMatches, prove } from "./authentication.ts";
import { maxWebSocketMessage, PeerConnection } from "./connection.ts";
import { protocolVersion } from "./messages.ts";

const handshakeTimeoutMs = 10_000;
const socketOptions = { perMessageDeflate: false, maxPayload: maxWebSocketMessage } as const;

/**
 * The mask that client frames are XORed with: none. RFC 6455, section 10.3, has it against scripts in browsers
 * that poison proxies; an agent is no browser, and masking costs more than all else that is done to a frame.
 */
function noMask(mask: Buffer): void {
  mask.fill(0);
}

/** Who we are towards peers, and what proves it. */
export interface Identity {
  readonly site: string;
  readonly token: Uint8Array;
}

/**
 * Dials a peer and authenticates both ways. Throws OperationError: "failed" if the peer cannot be reached
 * or speaks another version, "refused" if either side does not know the token or is not who it should be.
 */
export async function dial(url: string, peer: string, identity: Identity): Promise<PeerConnection> {
  const connection = await connect(url, peer);
  try {
    const challenge = await connection.expect("challenge", handshakeTimeoutMs);
    checkVersion(challenge.protocol, peer);
    const nonce = newNonce();
    const { site, token } = identity;
    connection.send({
      type: "hello",
      protocol: protocolVersion,
      site,
      nonce,
      mac: prove(token, "client", challenge.nonce, nonce, site),
    });
    const welcome = await connection.expect("welcome", handshakeTimeoutMs);
    const expected = prove(token, "server", challenge.nonce, nonce, welcome.site);
    if (!proofMatches(expected, welcome.mac)) {
      throw new OperationError("refused", `Cannot trust ${url}: it does not know the token`);
    }
    if (welcome.site !== peer) {
      throw new OperationError("refused", `Cannot trust ${url}: it is site ${welcome.site}, not ${peer}`);
    }
    connection.site = peer;
    connection.markAuthenticated();
    return connection;
  } catch (error) {
    connection.close();
    throw error;
  }
}

/** Listens for peers. */
export interface Listener {
  readonly address: AddressInfo;
  close(): Promise<void>;
}

/**
 * Accepts peers at `host:port`. Only sites in `knownSites` that prove the token reach `onPeer`; all others are
 * told that they are refused, and no more. Throws OperationError if the port cannot be used.
 */
export async function listen(
  host: string,
  port: number,
  identity: Identity,
  knownSites: ReadonlySet<string>,
  onPeer: (connection: PeerConnection) => void,
  onRefused: (address: string, reason: string) => void,
): Promise<Listener> {
  const http = createServer((_request, response) => response.writeHead(426).end());
  const sockets = new WebSocketServer({ server: http, ...socketOptions });
  // The HTTP server's errors come here too; `bind` reports them.
  sockets.on("error", () => {});
  sockets.on("connection", (socket: WebSocket, request: IncomingMessage) => {
    const connection = new PeerConnection(socket, request.socket);
    accept(connection, identity, knownSites).then(
      () => onPeer(connection),
      (error: unknown) => {
        onRefused(request.socket.remoteAddress ?? "unknown", messageOf(error));
        connection.close();
      },
    );
  });
  await bind(http, host, port);
  return {
    address: http.address() as AddressInfo,
    close: () =>
      new Promise((resolve) => {
        for (const client of sockets.clients) client.terminate();
        sockets.close(() => http.close(() => resolve()));
      }),
  };
}

async function accept(
  connection: PeerConnection,
  identity: Identity,
  knownSites: ReadonlySet<string>,
): Promise<void> {
  const serverNonce = newNonce();
  connection.send({ type: "challenge", protocol: protocolVersion, nonce: serverNonce });
  const hello = await connection.expect("hello", handshakeTimeoutMs);
  const { site, token } = identity;
  const expected = prove(token, "client", serverNonce, hello.nonce, hello.site);
  if (
    hello.protocol !== protocolVersion ||
    !proofMatches(expected, hello.mac) ||
    !knownSites.has(hello.site)
  ) {
    connection.send({ type: "abort", reason: "refused", message: "authentication failed" });
    throw new OperationError(
      "refused",
      `Refused ${JSON.stringify(hello.site)}: it is unknown or lacks the token`,
    );
  }
  connection.site = hello.site;
  connection.send({ type: "welcome", site, mac: prove(token, "server", serverNonce, hello.nonce, site) });
}

function checkVersion(version: number, peer: string): void {
  if (version === protocolVersion) return;
  throw new OperationError(
    "failed",
    `Cannot talk to ${peer}: it speaks protocol version ${version}, this site speaks ${protocolVersion}`,
  );
}

function connect(url: string, peer: string): Promise<PeerConnection> {
  return new Promise((resolve, reject) => {
    let transport: Socket | null = null;
    const socket = new WebSocket(url, {
      ...socketOptions,
      handshakeTimeout: handshakeTimeoutMs,
      generateMask: noMask,
    });
    socket.once("upgrade", (response) => {
      transport = response.socket;
      // Made here, not on "open": the peer's first message may come in the same packet.
      const connection = new PeerConnection(socket, transport);
      socket.once("open", () => resolve(connection));
    });
    socket.once("error", (error) => {
      reject(new OperationError("failed", `Cannot reach site ${peer} at ${url}: ${messageOf(error)}`));
    });
  });
}

function bind(http: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    http.once("error", (error) => {
      reject(new OperationError("failed", `Cannot listen on ${host}:${port}: ${messageOf(error)}`));
    });
    http.listen(port, host, resolve);
  });
}

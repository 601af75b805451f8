/** How two sites find out who the other one is, from the dialling and from the listening side. */

import type { TLSSocket } from "node:tls";
import { WebSocket } from "ws";
import { messageOf, OperationError } from "../errors.ts";
import {
  channelBinding,
  newNonce,
  noBinding,
  type ProofKeys,
  proofMatches,
  prove,
} from "./authentication.ts";
import { type Channel, openChannel } from "./channel.ts";
import { maxWebSocketMessage, PeerConnection } from "./connection.ts";
import { protocolVersion } from "./messages.ts";
import type { TlsCredentials } from "./tls-credentials.ts";
import { type PeerTrust, peerFingerprint, whyNotPeer } from "./tls-peer.ts";

/** Longest time for one step: TCP and TLS, the upgrade, each message. */
const stepTimeoutMs = 10_000;

/** Options of every WebSocket. */
export const webSocketOptions = { perMessageDeflate: false, maxPayload: maxWebSocketMessage } as const;

/**
 * The mask that client frames are XORed with: none. RFC 6455, section 10.3, has it against scripts in browsers
 * that poison proxies; an agent is no browser, and masking costs more than all else that is done to a frame.
 */
function noMask(mask: Buffer): void {
  mask.fill(0);
}

/** Who we are towards peers, and what proves it: TLS credentials, a token, or both. */
export interface Identity {
  readonly site: string;
  readonly token: Uint8Array | null;
  /** Null: plain text, and a token. */
  readonly tls: TlsCredentials | null;
}

/** Where a peer is, and how it proves that it is the one. */
export interface PeerAddress extends PeerTrust {
  readonly url: string;
}

/**
 * Dials a peer and authenticates both ways. Throws OperationError: "failed" if the peer cannot be reached
 * or speaks another version, "refused" if either side is not who it should be.
 */
export async function dial(site: string, peer: PeerAddress, identity: Identity): Promise<PeerConnection> {
  const channel = await openChannel(peer.url, identity.tls, stepTimeoutMs);
  checkServer(site, peer, channel, identity);
  const connection = await upgrade(peer.url, channel);
  try {
    await proveToServer(
      connection,
      site,
      peer,
      { token: identity.token, binding: bindingOf(channel.tls) },
      identity.site,
    );
  } catch (error) {
    connection.close();
    throw error;
  }
  connection.site = site;
  connection.markAuthenticated();
  return connection;
}

/**
 * The listening side: finds out which of `peers` has dialled, and proves this site to it. Sets the connection's site.
 * `tls` is null in plain text. Throws OperationError: "refused" if it is none of them, "failed" if it says nothing or
 * nonsense. It has been told that it is refused then, and no more.
 */
export async function acceptPeer(
  connection: PeerConnection,
  tls: TLSSocket | null,
  identity: Identity,
  peers: Readonly<Record<string, PeerTrust>>,
): Promise<void> {
  const refuse = (why: string) => {
    connection.send({ type: "abort", reason: "refused", message: "authentication failed" });
    return new OperationError("refused", why);
  };
  const hasAuthority = identity.tls?.ca != null;
  const isPossible = (site: string) =>
    identity.tls === null || (tls !== null && whyNotPeer(tls, site, peers[site], hasAuthority) === null);
  // Whom the certificate can stand for; in plain text only the token counts.
  const possible = new Set(Object.keys(peers).filter(isPossible));
  if (possible.size === 0) {
    const shown = tls && peerFingerprint(tls);
    throw refuse(shown ? `its certificate ${shown} is of no peer` : "it showed no certificate");
  }
  const serverNonce = newNonce();
  connection.send({ type: "challenge", protocol: protocolVersion, nonce: serverNonce });
  const hello = await connection.expect("hello", stepTimeoutMs);
  const keys = { token: identity.token, binding: bindingOf(tls) };
  if (hello.protocol !== protocolVersion) {
    throw refuse(`it speaks protocol version ${hello.protocol}, this site speaks ${protocolVersion}`);
  }
  if (!possible.has(hello.site)) {
    const known = Object.hasOwn(peers, hello.site)
      ? "its certificate is not that of this peer"
      : "it is no peer";
    throw refuse(`it says that it is site ${hello.site}, but ${known}`);
  }
  const expected = prove(keys, "client", serverNonce, hello.nonce, hello.site);
  if (!proofMatches(expected, hello.mac)) {
    throw refuse(
      `it says that it is site ${hello.site}, but it has another token, or its connection is relayed`,
    );
  }
  connection.site = hello.site;
  const { site } = identity;
  connection.send({ type: "welcome", site, mac: prove(keys, "server", serverNonce, hello.nonce, site) });
}

async function proveToServer(
  connection: PeerConnection,
  peer: string,
  { url }: PeerAddress,
  keys: ProofKeys,
  ownSite: string,
): Promise<void> {
  const challenge = await connection.expect("challenge", stepTimeoutMs);
  if (challenge.protocol !== protocolVersion) {
    throw new OperationError(
      "failed",
      `Cannot talk to ${peer}: it speaks protocol version ${challenge.protocol}, this site speaks ${protocolVersion}`,
    );
  }
  const nonce = newNonce();
  connection.send({
    type: "hello",
    protocol: protocolVersion,
    site: ownSite,
    nonce,
    mac: prove(keys, "client", challenge.nonce, nonce, ownSite),
  });
  const welcome = await connection.expect("welcome", stepTimeoutMs);
  const expected = prove(keys, "server", challenge.nonce, nonce, welcome.site);
  if (!proofMatches(expected, welcome.mac)) {
    throw new OperationError(
      "refused",
      `Cannot trust ${url}: it does not know the token, or the connection is relayed`,
    );
  }
  if (welcome.site !== peer) {
    throw new OperationError("refused", `Cannot trust ${url}: it is site ${welcome.site}, not ${peer}`);
  }
}

/** Before a byte of ours goes to whoever that is. */
function checkServer(site: string, peer: PeerAddress, { tls, transport }: Channel, identity: Identity): void {
  if (identity.tls === null) return;
  const why = tls ? whyNotPeer(tls, site, peer, identity.tls.ca !== null) : "there is no TLS";
  if (why === null) return;
  transport.destroy();
  throw new OperationError("refused", `Cannot trust ${peer.url}: ${why}`);
}

function bindingOf(tls: TLSSocket | null): Uint8Array {
  return tls ? channelBinding(tls) : noBinding;
}

function upgrade(url: string, { transport, socket }: Channel): Promise<PeerConnection> {
  return new Promise((resolve, reject) => {
    const webSocket = new WebSocket(url, {
      ...webSocketOptions,
      handshakeTimeout: stepTimeoutMs,
      generateMask: noMask,
      createConnection: () => socket,
    });
    webSocket.once("upgrade", () => {
      // Made here, not on "open": the peer's first message may come in the same packet.
      const connection = new PeerConnection(webSocket, transport);
      webSocket.once("open", () => resolve(connection));
    });
    webSocket.once("error", (error) => {
      transport.destroy();
      reject(new OperationError("failed", `Cannot reach ${url}: ${messageOf(error)}`));
    });
  });
}

/**
 * Who is at the other end of a TLS channel: the certificate that was pinned, or one that an authority gave to the site.
 *
 * TLS itself has proven that the other end has the certificate's key. Everything that is not clearly right is wrong.
 */

import type { TLSSocket } from "node:tls";
import { fingerprintOf } from "./tls-fingerprint.ts";

/** How a site proves that it is the one. */
export interface PeerTrust {
  /** The certificate's fingerprint; null: an authority vouches for it. */
  readonly fingerprint: string | null;
}

/** The fingerprint of the other end's certificate, or null if it showed none. */
export function peerFingerprint(socket: TLSSocket): string | null {
  const certificate = socket.getPeerX509Certificate();
  return certificate ? fingerprintOf(certificate.raw) : null;
}

/**
 * Why the other end of an established channel is not `site`, or null if it is. `hasAuthority` says that the channel
 * was made with authorities of this site's own: only then does what Node found out about the chain count.
 */
export function whyNotPeer(
  socket: TLSSocket,
  site: string,
  { fingerprint }: PeerTrust,
  hasAuthority: boolean,
): string | null {
  if (socket.getProtocol() !== "TLSv1.3" || socket.isSessionReused())
    return "it is no fresh channel of TLS 1.3";
  const certificate = socket.getPeerX509Certificate();
  if (!certificate) return "it showed no certificate";
  const shown = fingerprintOf(certificate.raw);
  if (fingerprint !== null) {
    return shown === fingerprint ? null : `its certificate is ${shown}, the one of ${site} is ${fingerprint}`;
  }
  if (!hasAuthority) return `no fingerprint of ${site} is known, and no authority`;
  if (socket.authorized !== true) {
    return `no authority of this site vouches for its certificate ${shown} (${socket.authorizationError})`;
  }
  // The common name counts too: many authorities of companies know no other place for a name that is no host's.
  if (certificate.checkHost(site, { subject: "always", wildcards: false }) === undefined) {
    return `its certificate ${shown} names another site than ${site}`;
  }
  return null;
}

/**
 * Fingerprints of certificates: SHA-256 over the DER encoding.
 *
 *     SHA256:0a1b…       64 hexadecimal digits: how they are printed
 *     SHA256:0A:1B:…     the same as `openssl x509 -fingerprint -sha256` has them
 *     SHA256:Chs…        43 characters of base64, with or without the `=` at the end
 */

import { createHash } from "node:crypto";

const prefix = "SHA256:";

/** The fingerprint of a certificate in DER, as this program prints it. */
export function fingerprintOf(der: Uint8Array): string {
  return prefix + createHash("sha256").update(der).digest("hex");
}

/** A fingerprint in any of the notations as this program prints it, or null if it is none. */
export function parseFingerprint(text: string): string | null {
  if (!text.startsWith(prefix)) return null;
  const digest = text.slice(prefix.length);
  if (/^([0-9a-f]{64}|([0-9a-f]{2}:){31}[0-9a-f]{2})$/i.test(digest)) {
    return prefix + digest.replaceAll(":", "").toLowerCase();
  }
  if (!/^[A-Za-z0-9+/]{43}=?$/.test(digest)) return null;
  return prefix + Buffer.from(digest, "base64").toString("hex");
}

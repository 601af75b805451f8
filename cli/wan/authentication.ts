/**
 * Challenge and response inside a channel; no secret travels.
 *
 *     challenge  nonce s                                          32 random bytes, hexadecimal
 *     hello      site, nonce c, HMAC(secret, "bfmig 2" "client" s c site binding)
 *     welcome    site,          HMAC(secret, "bfmig 2" "server" s c site binding)
 *
 * HMAC-SHA-256 (RFC 2104), every part preceded by its length. `binding` is 32 bytes that only the two ends of one TLS
 * channel can compute (RFC 9266 has such a binding too; RFC 8446, section 7.5, the exporter), or nothing in plain text.
 * `secret` is the token if the sites have one, else the binding itself. Both directions are proven, and a proof is
 * good for one connection only: who relays it to another channel fails, whatever keys it has.
 */

import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import type { TLSSocket } from "node:tls";
import { OperationError } from "../errors.ts";
import { readSecretFile } from "./secret-file.ts";

/** Which end of the connection proves itself. */
export type ProofRole = "client" | "server";

/** What both ends of one connection know, and nobody else. */
export interface ProofKeys {
  /** The shared token; null: none. */
  readonly token: Uint8Array | null;
  /** 32 bytes of the TLS channel; empty in plain text. */
  readonly binding: Uint8Array;
}

const exporterLabel = "EXPORTER-bfmig";
const bindingBytes = 32;

/** What ties a proof to the TLS channel: the same at both ends of it, and of no other one. 32 bytes. */
export function channelBinding(socket: TLSSocket): Uint8Array {
  return socket.exportKeyingMaterial(bindingBytes, exporterLabel, Buffer.alloc(0));
}

/** The binding of a connection in plain text. */
export const noBinding: Uint8Array = new Uint8Array(0);

/** A fresh nonce: 64 hexadecimal digits. */
export function newNonce(): string {
  return randomBytes(32).toString("hex");
}

/** What `role` sends to prove that it is an end of this channel and knows the token. 64 hexadecimal digits. */
export function prove(
  { token, binding }: ProofKeys,
  role: ProofRole,
  serverNonce: string,
  clientNonce: string,
  site: string,
): string {
  const secret = token ?? binding;
  if (secret.length === 0) throw new TypeError("Cannot prove anything without a token or a TLS channel");
  const hmac = createHmac("sha256", secret);
  for (const part of ["bfmig 2", role, serverNonce, clientNonce, site, binding]) {
    const bytes = typeof part === "string" ? new TextEncoder().encode(part) : part;
    const length = new Uint8Array(4);
    new DataView(length.buffer).setUint32(0, bytes.length, true);
    hmac.update(length).update(bytes);
  }
  return hmac.digest("hex");
}

/** True if the proof is right; takes the same time whether it is or not. */
export function proofMatches(expected: string, given: string): boolean {
  const a = Buffer.from(expected, "hex");
  const b = Buffer.from(given, "hex");
  return a.length === b.length && timingSafeEqual(a, b);
}

const minTokenBytes = 16;

/**
 * Reads a token file: its content without white space at the ends.
 * Throws OperationError "usage" if it is missing, too short, or readable by others.
 */
export async function readToken(path: string): Promise<Uint8Array> {
  const text = (await readSecretFile(path, "token")).trim();
  if (text.length < minTokenBytes) {
    throw new OperationError(
      "usage",
      `Cannot use token file ${path}: at least ${minTokenBytes} characters are needed`,
    );
  }
  return new TextEncoder().encode(text);
}

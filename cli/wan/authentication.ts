/**
 * Challenge and response on a token that both sites have; the token itself never travels.
 *
 *     challenge  nonce s                                    32 random bytes, hexadecimal
 *     hello      site, nonce c, HMAC(token, "bfmig 1 client" s c site)
 *     welcome    site,          HMAC(token, "bfmig 1 server" s c site)
 *
 * HMAC-SHA-256 (RFC 2104), every part preceded by its length. Both directions are proven, and a proof
 * is good for one connection only.
 */

import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { OperationError } from "../errors.ts";

/** Which end of the connection proves itself. */
export type ProofRole = "client" | "server";

/** A fresh nonce: 64 hexadecimal digits. */
export function newNonce(): string {
  return randomBytes(32).toString("hex");
}

/** What `role` sends to prove that it knows the token. 64 hexadecimal digits. */
export function prove(
  token: Uint8Array,
  role: ProofRole,
  serverNonce: string,
  clientNonce: string,
  site: string,
): string {
  const hmac = createHmac("sha256", token);
  for (const part of ["bfmig 1", role, serverNonce, clientNonce, site]) {
    const bytes = new TextEncoder().encode(part);
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
  let mode: number;
  let text: string;
  try {
    mode = (await stat(path)).mode;
    text = (await readFile(path, "utf8")).trim();
  } catch (error) {
    throw new OperationError("usage", `Cannot read token file ${path}: ${(error as Error).message}`);
  }
  if (mode & 0o077) {
    throw new OperationError(
      "usage",
      `Cannot use token file ${path}: others may read it; run: chmod 600 ${path}`,
    );
  }
  if (text.length < minTokenBytes) {
    throw new OperationError(
      "usage",
      `Cannot use token file ${path}: at least ${minTokenBytes} characters are needed`,
    );
  }
  return new TextEncoder().encode(text);
}

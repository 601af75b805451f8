/** A site's key and certificate, and the authorities that it trusts, read and checked before anything is done with them. */

import { constants, createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { TlsFiles } from "../config/site-config.ts";
import { messageOf, OperationError } from "../errors.ts";
import { readSecretFile } from "./secret-file.ts";
import { fingerprintOf } from "./tls-fingerprint.ts";

/** What proves a site's identity. All texts are PEM. */
export interface TlsCredentials {
  /** The site's certificate, and those between it and the authority if there are any. */
  readonly cert: string;
  readonly key: string;
  /** Authorities for peers without a fingerprint; null: none. */
  readonly ca: string | null;
  /** Of the certificate, as `fingerprintOf` has it. */
  readonly fingerprint: string;
}

/** Reads the files. Throws OperationError "usage" that names the file and what is wrong with it. */
export async function readTlsCredentials(files: TlsFiles): Promise<TlsCredentials> {
  const cert = await readText(files.cert, "certificate");
  const certificate = parseCertificate(cert, files.cert, "certificate");
  const key = await readSecretFile(files.key, "key");
  let keyObject: KeyObject;
  try {
    keyObject = createPrivateKey(key);
  } catch {
    // OpenSSL's message says nothing that an operator understands.
    throw new OperationError(
      "usage",
      `Cannot use key file ${files.key}: it is no private key in PEM without a passphrase`,
    );
  }
  if (!certificate.checkPrivateKey(keyObject)) {
    throw new OperationError(
      "usage",
      `Cannot use key file ${files.key}: it is not the key of certificate ${files.cert}`,
    );
  }
  let ca: string | null = null;
  if (files.ca !== null) {
    ca = await readText(files.ca, "authority");
    parseCertificate(ca, files.ca, "authority");
  }
  return { cert, key, ca, fingerprint: fingerprintOf(certificate.raw) };
}

/**
 * Options of Node's TLS for both ends. Node checks no peer: the caller does (`tls-peer.ts`), since a pinned
 * certificate needs no authority, and one from an authority must name a site, not a host.
 */
export function tlsOptions({ cert, key, ca }: TlsCredentials) {
  return {
    cert,
    key,
    // Not undefined: then Node would trust the authorities of the web.
    ca: ca === null ? [] : [ca],
    requestCert: true,
    rejectUnauthorized: false,
    checkServerIdentity: () => undefined,
    minVersion: "TLSv1.3",
    // A resumed session would carry an old judgement of the peer.
    secureOptions: constants.SSL_OP_NO_TICKET,
  } as const;
}

async function readText(path: string, what: string): Promise<string> {
  return await readFile(path, "utf8").catch((error) => {
    throw new OperationError("usage", `Cannot read ${what} file ${path}: ${messageOf(error)}`);
  });
}

function parseCertificate(pem: string, path: string, what: string): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch {
    throw new OperationError("usage", `Cannot use ${what} file ${path}: it is no certificate in PEM`);
  }
}

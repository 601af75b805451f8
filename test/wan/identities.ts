/** Sites' identities for tests: their own certificates, or those of an authority that the test is. */

import { webcrypto } from "node:crypto";
import * as asn1js from "asn1js";
import * as pkijs from "pkijs";
import type { Identity } from "../../cli/wan/handshake.ts";
import { makeSiteCertificate } from "../../cli/wan/tls-certificate.ts";
import type { PeerTrust } from "../../cli/wan/tls-peer.ts";

/** A site with TLS as `bfmig init` makes it, and a token if one is given. */
export async function makeIdentity(site: string, token: string | null = null): Promise<Identity> {
  const { cert, key, fingerprint } = await makeSiteCertificate(site);
  return {
    site,
    token: token === null ? null : Buffer.from(token),
    tls: { cert, key, ca: null, fingerprint },
  };
}

/** The pin of a site's certificate. */
export function trustIn({ tls }: Identity): PeerTrust {
  return { fingerprint: tls?.fingerprint ?? null };
}

/** What an authority writes into a certificate. */
export interface IssueOptions {
  /** Name in the subject alternative name; null: there is none. */
  readonly dnsName: string | null;
  readonly commonName?: string;
  readonly notAfter?: Date;
}

/** An authority of a test. */
export interface Authority {
  /** Its own certificate in PEM. */
  readonly ca: string;
  /** An identity of `site` with a certificate of this authority, which trusts the authority. */
  issue(site: string, options: IssueOptions): Promise<Identity>;
}

const ecdsa = { name: "ECDSA", namedCurve: "P-256" };
const dayMs = 24 * 3600 * 1000;
const engine = new pkijs.CryptoEngine({ name: "test", crypto: webcrypto as Crypto });

export async function makeAuthority(name = "an authority"): Promise<Authority> {
  const keys = await webcrypto.subtle.generateKey(ecdsa, true, ["sign", "verify"]);
  const basic = new pkijs.BasicConstraints({ cA: true }).toSchema();
  const own = await certificateOf(name, name, keys.publicKey, keys.privateKey, {
    "2.5.29.19": basic.toBER(false),
  });
  const ca = pemOf("CERTIFICATE", own);
  return {
    ca,
    issue: async (site, { dnsName, commonName = "somebody", notAfter }) => {
      const siteKeys = await webcrypto.subtle.generateKey(ecdsa, true, ["sign", "verify"]);
      const altNames = [new pkijs.GeneralName({ type: 2, value: dnsName ?? "" })];
      const names = { "2.5.29.17": new pkijs.AltName({ altNames }).toSchema().toBER(false) };
      const der = await certificateOf(
        name,
        commonName,
        siteKeys.publicKey,
        keys.privateKey,
        dnsName === null ? {} : names,
        notAfter,
      );
      const pkcs8 = await webcrypto.subtle.exportKey("pkcs8", siteKeys.privateKey);
      const tls = { cert: pemOf("CERTIFICATE", der), key: pemOf("PRIVATE KEY", pkcs8), ca, fingerprint: "" };
      return { site, token: null, tls };
    },
  };
}

async function certificateOf(
  issuer: string,
  subject: string,
  publicKey: webcrypto.CryptoKey,
  signingKey: webcrypto.CryptoKey,
  extensions: Record<string, ArrayBuffer>,
  notAfter = new Date(Date.now() + dayMs),
): Promise<ArrayBuffer> {
  const certificate = new pkijs.Certificate();
  certificate.version = 2;
  certificate.serialNumber = new asn1js.Integer({ value: 1 + Math.floor(Math.random() * 1e9) });
  for (const [names, name] of [
    [certificate.issuer, issuer],
    [certificate.subject, subject],
  ] as const) {
    const value = new asn1js.Utf8String({ value: name });
    names.typesAndValues.push(new pkijs.AttributeTypeAndValue({ type: "2.5.4.3", value }));
  }
  certificate.notBefore.value = new Date(Date.now() - 30 * dayMs);
  certificate.notAfter.value = notAfter;
  certificate.extensions = Object.entries(extensions).map(
    ([extnID, extnValue]) => new pkijs.Extension({ extnID, extnValue }),
  );
  await certificate.subjectPublicKeyInfo.importKey(publicKey as CryptoKey, engine);
  await certificate.sign(signingKey as CryptoKey, "SHA-256", engine);
  return certificate.toSchema(true).toBER(false);
}

function pemOf(label: string, der: ArrayBuffer): string {
  return `-----BEGIN ${label}-----\n${Buffer.from(der).toString("base64")}\n-----END ${label}-----\n`;
}

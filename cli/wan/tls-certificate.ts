/**
 * Makes the key and the certificate of a site (X.509 version 3, RFC 5280).
 *
 * ECDSA on P-256, signed by itself. It never expires: peers pin its fingerprint, and take the pin away when they no
 * longer trust it.
 */

import { webcrypto } from "node:crypto";
import { fingerprintOf } from "./tls-fingerprint.ts";

/** A new identity; texts are PEM. */
export interface SiteCertificate {
  readonly cert: string;
  readonly key: string;
  readonly fingerprint: string;
}

const oid = {
  commonName: "2.5.4.3",
  basicConstraints: "2.5.29.19",
  keyUsage: "2.5.29.15",
  extendedKeyUsage: "2.5.29.37",
  subjectAltName: "2.5.29.17",
  serverAuth: "1.3.6.1.5.5.7.3.1",
  clientAuth: "1.3.6.1.5.5.7.3.2",
} as const;

/** GeneralName of type dNSName. */
const dnsName = 2;
/** Time as GeneralizedTime, which years from 2050 on need. */
const generalizedTime = 1;
/** "No well-defined expiration date", RFC 5280, section 4.1.2.5. */
const never = new Date("9999-12-31T23:59:59Z");
/** A peer's clock may be behind. */
const clockSkewMs = 24 * 3600 * 1000;
const serialNumberBytes = 16;

/** Makes a key and its certificate, whose names are that of the site. */
export async function makeSiteCertificate(site: string): Promise<SiteCertificate> {
  // Only here: every start of the program would pay for it.
  const [asn1js, pkijs] = await Promise.all([import("asn1js"), import("pkijs")]);
  const algorithm = { name: "ECDSA", namedCurve: "P-256" };
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const certificate = new pkijs.Certificate();
  certificate.version = 2;
  const serialNumber = webcrypto.getRandomValues(new Uint8Array(serialNumberBytes));
  // Positive, and of full length.
  serialNumber[0] = (serialNumber[0] & 0x7f) | 0x40;
  certificate.serialNumber = new asn1js.Integer({ valueHex: serialNumber.buffer });
  for (const names of [certificate.issuer, certificate.subject]) {
    const value = new asn1js.Utf8String({ value: site });
    names.typesAndValues.push(new pkijs.AttributeTypeAndValue({ type: oid.commonName, value }));
  }
  certificate.notBefore.value = new Date(Date.now() - clockSkewMs);
  certificate.notAfter.type = generalizedTime;
  certificate.notAfter.value = never;
  const extension = (extnID: string, critical: boolean, schema: { toBER(sizeOnly?: boolean): ArrayBuffer }) =>
    new pkijs.Extension({ extnID, critical, extnValue: schema.toBER(false) });
  const altNames = [new pkijs.GeneralName({ type: dnsName, value: site })];
  const digitalSignature = new asn1js.BitString({ unusedBits: 7, valueHex: Uint8Array.of(0x80).buffer });
  certificate.extensions = [
    extension(oid.basicConstraints, true, new pkijs.BasicConstraints({ cA: false }).toSchema()),
    extension(oid.keyUsage, true, digitalSignature),
    extension(
      oid.extendedKeyUsage,
      false,
      new pkijs.ExtKeyUsage({ keyPurposes: [oid.serverAuth, oid.clientAuth] }).toSchema(),
    ),
    extension(oid.subjectAltName, false, new pkijs.AltName({ altNames }).toSchema()),
  ];
  const engine = new pkijs.CryptoEngine({ name: "node", crypto: webcrypto as Crypto });
  await certificate.subjectPublicKeyInfo.importKey(keys.publicKey as CryptoKey, engine);
  await certificate.sign(keys.privateKey as CryptoKey, "SHA-256", engine);
  const der = Buffer.from(certificate.toSchema(true).toBER(false));
  const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey("pkcs8", keys.privateKey));
  return {
    cert: pemOf("CERTIFICATE", der),
    key: pemOf("PRIVATE KEY", pkcs8),
    fingerprint: fingerprintOf(der),
  };
}

/** RFC 7468. */
function pemOf(label: string, der: Buffer): string {
  const lines = der.toString("base64").match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}

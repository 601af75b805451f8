import { createHash, X509Certificate } from "node:crypto";
import t from "tap";
import { makeSiteCertificate } from "../../cli/wan/tls-certificate.ts";
import { fingerprintOf, parseFingerprint } from "../../cli/wan/tls-fingerprint.ts";

t.test("a fingerprint is read in every notation that people have", async (t) => {
  const digest = createHash("sha256").update("a certificate").digest();
  const own = fingerprintOf(Buffer.from("a certificate"));
  t.equal(own, `SHA256:${digest.toString("hex")}`);
  const base64 = digest.toString("base64");
  const colons = (digest.toString("hex").match(/../g) ?? []).join(":").toUpperCase();
  for (const text of [
    digest.toString("hex"),
    digest.toString("hex").toUpperCase(),
    colons,
    base64,
    base64.slice(0, -1),
  ]) {
    t.equal(parseFingerprint(`SHA256:${text}`), own, text);
  }
});

t.test("what is no fingerprint is none", async (t) => {
  const hex = "0a".repeat(32);
  const wrong = [
    hex,
    `SHA256:${hex.slice(1)}`,
    `SHA256:${hex}0`,
    `sha256:${hex}`,
    `SHA1:${hex}`,
    "SHA256:",
    `SHA256:${hex} `,
  ];
  for (const text of [...wrong, `SHA256:${"0a:".repeat(32)}`, `SHA256:${"A".repeat(42)}`]) {
    t.equal(parseFingerprint(text), null, text);
  }
});

t.test(
  "a site's certificate names the site, never ends, and has the fingerprint that OpenSSL gives it",
  async (t) => {
    const { cert, key, fingerprint } = await makeSiteCertificate("site-1.x_y");
    const parsed = new X509Certificate(cert);
    t.equal(parsed.subject, "CN=site-1.x_y");
    t.equal(parsed.subjectAltName, "DNS:site-1.x_y");
    t.equal(parseFingerprint(`SHA256:${parsed.fingerprint256}`), fingerprint);
    t.equal(new Date(parsed.validTo).getUTCFullYear(), 9999);
    t.ok(new Date(parsed.validFrom).getTime() < Date.now());
    t.ok(parsed.verify(parsed.publicKey));
    t.notOk(parsed.ca);
    t.match(key, /^-----BEGIN PRIVATE KEY-----\n/);
    t.not((await makeSiteCertificate("site-1.x_y")).fingerprint, fingerprint, "each has a key of its own");
  },
);

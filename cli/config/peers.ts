/** The part of a site's configuration about its peers: where they are, what proves them, and what they may. */

import { z } from "zod";
import { parseFingerprint } from "../wan/tls-fingerprint.ts";
import { parseRate, parseTime } from "./units.ts";

const patternField = z
  .string()
  .regex(
    /^[a-z0-9._*?-]{1,63}$/,
    "write the name of a VM, in which * and ? stand for any characters and any one",
  );

const fingerprintField = z.string().transform((text, context) => {
  const fingerprint = parseFingerprint(text);
  if (fingerprint !== null) return fingerprint;
  context.addIssue({ code: "custom", message: "write SHA256: and 64 hexadecimal digits, or base64" });
  return z.NEVER;
});

/** A field in a unit that people write. */
function measureField(parse: (text: string) => number, what: string) {
  return z.union([z.string(), z.number()]).transform((value, context) => {
    try {
      const found = parse(String(value));
      if (found > 0) return found;
      context.addIssue({ code: "custom", message: `write ${what} above zero` });
    } catch (error) {
      context.addIssue({ code: "custom", message: (error as Error).message });
    }
    return z.NEVER;
  });
}

/** What the operator knows of a link: for predictions, until legs have measured it. */
const linkField = z.strictObject({
  /** Bits a second. */
  rate: measureField(parseRate, "a rate").optional(),
  /** Milliseconds. */
  rtt: measureField(parseTime, "a time").optional(),
});

/** A peer in the YAML file. */
export const peerField = z.strictObject(
  {
    url: z.string().regex(/^wss?:\/\/[^/\s@?#]+:\d{1,5}$/, "write wss://HOST:PORT"),
    /** Of its certificate; null: its certificate comes from the authority and names the site. */
    fingerprint: fingerprintField.nullable().default(null),
    /** VMs that the peer may send here. */
    maySend: z.array(patternField).default([]),
    /** VMs that may go from here to the peer. */
    mayReceive: z.array(patternField).default([]),
    link: linkField.optional(),
  },
  {
    error: ({ code }) =>
      code === "invalid_type" ? "write url, fingerprint, maySend and mayReceive" : undefined,
  },
);

/** The configuration of a site: one YAML file an agent. */

import { isIP } from "node:net";
import { dirname, isAbsolute, resolve } from "node:path";
import { z } from "zod";
import { OperationError } from "../errors.ts";
import { isValidName, nameRule } from "../store/vm-name.ts";
import { acceptField, confinementFields } from "./confinement.ts";
import { peerField } from "./peers.ts";
import { trackingField } from "./vm-definition.ts";
import { parseYaml, readYamlText } from "./yaml-file.ts";

const nameField = z.string().refine(isValidName, `names have ${nameRule}`);
const pathField = z.string().min(1);

const fields = z.strictObject({
  site: nameField,
  store: pathField,
  /** Folder of the VMs' digest keys, apart from the store. */
  keys: pathField.optional(),
  /** Folder of QEMU's sockets and logs; its path must be short, for Unix sockets. */
  run: pathField.optional(),
  listen: z.string().regex(/^(\[[0-9a-fA-F:]+\]|[^:\s]+):\d{1,5}$/, "write HOST:PORT"),
  control: pathField,
  /** This site's certificate and key, and the authorities whose certificates count for peers without a fingerprint. */
  tls: z.strictObject({ cert: pathField, key: pathField, ca: pathField.optional() }).optional(),
  /** A secret that all sites share: beside TLS if wanted, needed without it. */
  token: z.strictObject({ file: pathField }).optional(),
  /** Plain text, on loopback only. */
  insecure: z.boolean().default(false),
  peers: z.record(nameField, peerField).default({}),
  qemu: z
    .strictObject({
      binary: z.string().min(1).default("qemu-system-x86_64"),
      args: z.array(z.string()).default([]),
      ...confinementFields,
    })
    .prefault({}),
  accept: acceptField,
  /** QEMU arguments for VMs that arrive from peers: a peer never sends any. */
  arrivals: z
    .record(
      nameField,
      z.strictObject({ args: z.array(z.string()).optional(), tracking: trackingField.optional() }),
    )
    .default({}),
  /** Generations of each VM that stay here after a leg. */
  keep: z.int().min(1).max(1000).default(2),
});

const schema = fields.superRefine((config, context) => {
  const refuse = (path: string[], message: string) => context.addIssue({ code: "custom", path, message });
  const { insecure, tls, token } = config;
  if (insecure && tls) refuse(["insecure"], "it excludes tls: take one of them away");
  if (insecure && !token) refuse(["token"], "it is needed with insecure: nothing else says who a peer is");
  if (!insecure && !tls) {
    refuse(
      ["tls"],
      "it is needed: make a key and a certificate with 'bfmig init', or allow plain text on loopback with 'insecure: true'",
    );
  }
  const pinned = new Map<string, string>();
  for (const [name, { url, fingerprint }] of Object.entries(config.peers)) {
    const at = (field: string) => ["peers", name, field];
    if (name === config.site) refuse(["peers", name], "it is this site itself");
    if (url.startsWith("wss:") === insecure) {
      refuse(at("url"), insecure ? "write ws://HOST:PORT with insecure" : "write wss://HOST:PORT");
    } else if (insecure && !isLoopback(hostOf(url))) {
      refuse(
        at("url"),
        "it is not encrypted: ws:// goes to loopback only; use TLS, or a tunnel (ssh, WireGuard)",
      );
    }
    if (!insecure && fingerprint === null && tls?.ca === undefined) {
      refuse(at("fingerprint"), "it is needed without tls.ca: 'bfmig peer add' finds it out");
    }
    if (fingerprint === null) continue;
    const other = pinned.get(fingerprint);
    if (other !== undefined)
      refuse(at("fingerprint"), `it is that of ${other}: each site has a key of its own`);
    pinned.set(fingerprint, name);
  }
});

/** A checked configuration; all paths are absolute, fingerprints are as this program prints them. */
export interface SiteConfig
  extends Omit<z.infer<typeof fields>, "listen" | "keys" | "run" | "tls" | "token"> {
  readonly listen: { readonly host: string; readonly port: number };
  readonly keys: string;
  readonly run: string;
  /** Null: plain text. */
  readonly tls: TlsFiles | null;
  readonly token: { readonly file: string } | null;
}

/** Where what proves this site's identity lies: PEM files. */
export interface TlsFiles {
  readonly cert: string;
  readonly key: string;
  /** Null: peers are known by their fingerprints only. */
  readonly ca: string | null;
}

/** Reads a configuration. Relative paths are relative to the file. Throws OperationError "usage" or "refused". */
export async function readSiteConfig(path: string): Promise<SiteConfig> {
  return parseSiteConfig(await readYamlText(path), path);
}

/** Checks the text of a configuration that lies, or will lie, at `path`. Throws OperationError "usage" or "refused". */
export function parseSiteConfig(text: string, path: string): SiteConfig {
  const config = parseYaml(text, path, schema);
  const folder = dirname(resolve(path));
  const absolute = (given: string) => (isAbsolute(given) ? given : resolve(folder, given));
  const store = absolute(config.store);
  const control = absolute(config.control);
  const { tls, token } = config;
  return {
    ...config,
    listen: listenAddress(config.listen, path, config.insecure),
    store,
    control,
    keys: absolute(config.keys ?? `${store}.keys`),
    run: absolute(config.run ?? `${control}.d`),
    tls: tls
      ? {
          cert: absolute(tls.cert),
          key: absolute(tls.key),
          ca: tls.ca === undefined ? null : absolute(tls.ca),
        }
      : null,
    token: token ? { file: absolute(token.file) } : null,
  };
}

function listenAddress(text: string, path: string, insecure: boolean): { host: string; port: number } {
  const colon = text.lastIndexOf(":");
  const host = text.slice(0, colon).replace(/^\[|\]$/g, "");
  const port = Number(text.slice(colon + 1));
  if (port > 65535)
    throw new OperationError("usage", `Cannot use ${path}: listen: port ${port} exceeds 65535`);
  if (insecure && !isLoopback(host)) {
    throw new OperationError(
      "refused",
      `Cannot listen on ${host}: with insecure nothing is encrypted, so only loopback addresses are allowed; ` +
        "use TLS ('bfmig init' makes what it needs), or 127.0.0.1 and a tunnel (ssh, WireGuard)",
    );
  }
  return { host, port };
}

/** The host of a ws:// or wss:// URL, without the brackets of IPv6. */
function hostOf(url: string): string {
  return url
    .replace(/^wss?:\/\//, "")
    .replace(/:\d+$/, "")
    .replace(/^\[|\]$/g, "");
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || (isIP(host) === 4 && host.startsWith("127."));
}

/** The configuration of a site: one YAML file an agent. */

import { isIP } from "node:net";
import { dirname, isAbsolute, resolve } from "node:path";
import { z } from "zod";
import { OperationError } from "../errors.ts";
import { isValidName, nameRule } from "../store/vm-name.ts";
import { readYamlFile } from "./yaml-file.ts";

const nameField = z.string().refine(isValidName, `names have ${nameRule}`);
const pathField = z.string().min(1);
const peerUrl = z
  .string()
  .regex(/^wss?:\/\/[^/\s@]+:\d{1,5}$/, "write ws://HOST:PORT")
  .refine(
    (url) => url.startsWith("wss:") || isLoopback(hostOf(url)),
    "connections are not encrypted yet: ws:// goes to loopback only, through a tunnel (ssh, WireGuard)",
  );

const schema = z.strictObject({
  site: nameField,
  store: pathField,
  /** Folder of the VMs' digest keys, apart from the store. */
  keys: pathField.optional(),
  /** Folder of QEMU's sockets and logs; its path must be short, for Unix sockets. */
  run: pathField.optional(),
  listen: z.string().regex(/^(\[[0-9a-fA-F:]+\]|[^:\s]+):\d{1,5}$/, "write HOST:PORT"),
  control: pathField,
  token: z.strictObject({ file: pathField }),
  peers: z.record(nameField, peerUrl).default({}),
  qemu: z
    .strictObject({
      binary: z.string().min(1).default("qemu-system-x86_64"),
      args: z.array(z.string()).default([]),
    })
    .default({ binary: "qemu-system-x86_64", args: [] }),
  /** QEMU arguments for VMs that arrive from peers: a peer never sends any. */
  arrivals: z.record(nameField, z.strictObject({ args: z.array(z.string()) })).default({}),
  /** Generations of each VM that stay here after a leg. */
  keep: z.int().min(1).max(1000).default(2),
});

/** A checked configuration; all paths are absolute. */
export interface SiteConfig extends Omit<z.infer<typeof schema>, "listen" | "keys" | "run"> {
  readonly listen: { readonly host: string; readonly port: number };
  readonly keys: string;
  readonly run: string;
}

/** Reads a configuration. Relative paths are relative to the file. Throws OperationError "usage". */
export async function readSiteConfig(path: string): Promise<SiteConfig> {
  const config = await readYamlFile(path, schema);
  const folder = dirname(resolve(path));
  const absolute = (given: string) => (isAbsolute(given) ? given : resolve(folder, given));
  const store = absolute(config.store);
  const control = absolute(config.control);
  return {
    ...config,
    listen: listenAddress(config.listen, path),
    store,
    control,
    keys: absolute(config.keys ?? `${store}.keys`),
    run: absolute(config.run ?? `${control}.d`),
    token: { file: absolute(config.token.file) },
  };
}

function listenAddress(text: string, path: string): { host: string; port: number } {
  const colon = text.lastIndexOf(":");
  const host = text.slice(0, colon).replace(/^\[|\]$/g, "");
  const port = Number(text.slice(colon + 1));
  if (port > 65535)
    throw new OperationError("usage", `Cannot use ${path}: listen: port ${port} exceeds 65535`);
  if (!isLoopback(host)) {
    throw new OperationError(
      "refused",
      `Cannot listen on ${host}: connections are not encrypted yet, so only loopback addresses are allowed; ` +
        "use 127.0.0.1 and carry it through a tunnel (ssh, WireGuard)",
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

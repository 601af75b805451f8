/** Changes to a site's configuration file that leave its comments and everything else as they are. */

import { readFile, realpath } from "node:fs/promises";
import { type Document, isMap, parseDocument, YAMLMap } from "yaml";
import { messageOf, OperationError } from "../errors.ts";
import { writeFileAtomically } from "../store/atomic-file.ts";
import { parseSiteConfig, type SiteConfig } from "./site-config.ts";

/** What is written about a peer. */
export interface PeerEntry {
  readonly url: string;
  /** Null: none is written. */
  readonly fingerprint: string | null;
  readonly maySend: readonly string[];
  readonly mayReceive: readonly string[];
}

/** The text of a new configuration of a site with TLS. */
export function newSiteFile(site: string, listen: string): string {
  return [
    `# Site ${site} of bfmig. All fields: docs/OPERATIONS.md`,
    `site: ${site}`,
    "# VMs and what is retained of them",
    "store: store",
    `listen: ${JSON.stringify(listen)}`,
    "# Its path must be short, and that of the folder of QEMU's sockets too (run, here agent.sock.d)",
    "control: agent.sock",
    "tls: {cert: site.crt, key: site.key}",
    "# Put in by 'bfmig peer add'. maySend and mayReceive are patterns of VMs' names; none is allowed without them",
    "peers: {}",
    "",
  ].join("\n");
}

/** Adds a peer to the file. Throws OperationError if there is one of that name, or if the result cannot be used. */
export async function addPeer(path: string, name: string, peer: PeerEntry): Promise<void> {
  await change(path, (document, config) => {
    if (Object.hasOwn(config.peers, name)) {
      throw new OperationError(
        "usage",
        `Cannot add ${name}: it is a peer already; run first: bfmig peer remove ${name} --config ${path}`,
      );
    }
    const peers = document.get("peers", true);
    // One peer a line is easier to read and to change than a map in braces.
    if (!isMap(peers)) document.set("peers", new YAMLMap());
    else if (peers.items.length === 0) peers.flow = false;
    const { url, fingerprint, maySend, mayReceive } = peer;
    const entry = document.createNode({
      url,
      ...(fingerprint === null ? {} : { fingerprint }),
      maySend,
      mayReceive,
    });
    for (const field of ["maySend", "mayReceive"]) {
      const list = entry.get(field, true);
      if (typeof list === "object" && list !== null && "flow" in list) list.flow = true;
    }
    document.setIn(["peers", name], entry);
  });
}

/** Takes a peer out of the file. Throws OperationError if there is none of that name. */
export async function removePeer(path: string, name: string): Promise<void> {
  await change(path, (document, config) => {
    if (!Object.hasOwn(config.peers, name)) {
      const known = Object.keys(config.peers).join(", ") || "none";
      throw new OperationError("usage", `Cannot remove ${name}: it is no peer; peers of this site: ${known}`);
    }
    document.deleteIn(["peers", name]);
    const peers = document.get("peers", true);
    if (isMap(peers) && peers.items.length === 0) peers.flow = true;
  });
}

async function change(path: string, edit: (document: Document, config: SiteConfig) => void): Promise<void> {
  let target: string;
  let text: string;
  try {
    // A link stays one: what it points to is replaced.
    target = await realpath(path);
    text = await readFile(target, "utf8");
  } catch (error) {
    throw new OperationError("usage", `Cannot read ${path}: ${messageOf(error)}`);
  }
  const config = parseSiteConfig(text, path);
  const document = parseDocument(text);
  edit(document, config);
  const changed = document.toString({ lineWidth: 0, flowCollectionPadding: false });
  parseSiteConfig(changed, path);
  await writeFileAtomically(target, changed);
}

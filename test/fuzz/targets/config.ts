/** YAML of operators and, as `define` takes it, of clients of the control socket. */

import { writeFileSync } from "node:fs";
import { isAbsolute, join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { readSiteConfig } from "../../../cli/config/site-config.ts";
import { formatDefinition, parseDefinition } from "../../../cli/config/vm-definition.ts";
import { isValidName } from "../../../cli/store/vm-name.ts";
import { mutateYaml } from "../mutate-text.ts";
import { demand, type Target, textOf, utf8 } from "../target.ts";
import { workFolder } from "./work-folder.ts";

/** A definition of everything, for other targets too. */
export const definitionText = `name: web1
memory: 512MiB
machine: pc-q35-7.2
cpu: qemu64
accel: [kvm, tcg]
args: ["-nographic"]
disks:
  - id: disk0
    file: disk0.qcow2
    size: 16GiB
    format: qcow2
    cache: none
    granularity: 64KiB
  - id: log-1
    size: 512
    bus: virtio-scsi
`;

const siteText = `site: a
store: store
keys: keys
run: run
listen: 127.0.0.1:7000
control: agent.sock
tls: {cert: a.crt, key: a.key, ca: ca.crt}
token: {file: token}
peers:
  b: {url: "wss://127.0.0.1:7001", maySend: ["*"], mayReceive: [web?]}
  c:
    url: wss://example.org:7002
    fingerprint: SHA256:${"ab".repeat(32)}
qemu:
  binary: qemu-system-x86_64
  args: [-nodefaults]
arrivals:
  web1: {args: [-nographic]}
keep: 3
`;

const plainSiteText = `site: a
store: store
listen: 127.0.0.1:7000
control: agent.sock
token: {file: token}
insecure: true
peers: {b: {url: "ws://127.0.0.1:7001"}}
`;

/** Definitions of VMs; formatted and parsed again they are the same. */
export function vmDefinition(): Target {
  return {
    name: "vm-definition",
    seeds: [definitionText, "name: web1\nmemory: 1GiB\nmachine: pc\n"].map(utf8),
    mutate: mutateYaml,
    run: (input) => {
      const definition = parseDefinition(textOf(input), "/etc/web1.yaml");
      demand(isValidName(definition.name), "it has a name that cannot be a folder");
      const again = parseDefinition(formatDefinition(definition), "/etc/web1.yaml");
      demand(isDeepStrictEqual(again, definition), "it changes in a round trip");
      return `${definition.disks.length} ${definition.args.length} ${definition.accel.length}`;
    },
  };
}

/** The configuration of a site; its paths are absolute, and it listens on a port. */
export function siteConfig(): Target {
  const path = join(workFolder(), "site.yaml");
  return {
    name: "site-config",
    seeds: [
      siteText,
      plainSiteText,
      "site: a\nstore: s\nlisten: '[::1]:1'\ncontrol: c\ninsecure: true\ntoken: {file: t}\n",
    ].map(utf8),
    mutate: mutateYaml,
    run: async (input) => {
      writeFileSync(path, input);
      const config = await readSiteConfig(path);
      for (const one of [config.store, config.keys, config.run, config.control]) {
        demand(isAbsolute(one), "a path is relative to who knows what");
      }
      demand(config.listen.port >= 0 && config.listen.port <= 65535, "it listens on no port");
      return `${Object.keys(config.peers).length} ${Object.keys(config.arrivals).length}`;
    },
  };
}

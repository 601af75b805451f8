/** A site: its VMs, its store, its peers. This file brings the parts together and keeps the list of VMs. */

import { readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Logger } from "pino";
import { type Core, loadCore } from "../../src/core.ts";
import type { SiteConfig } from "../config/site-config.ts";
import { formatDefinition, parseDefinition, type VmDefinition } from "../config/vm-definition.ts";
import { ImageStore } from "../disk/image-store.ts";
import { messageOf, OperationError } from "../errors.ts";
import { writeFileAtomically } from "../store/atomic-file.ts";
import { FileOwnershipRegister, type OwnershipRegister } from "../store/ownership.ts";
import { isValidName } from "../store/vm-name.ts";
import { readToken } from "../wan/authentication.ts";
import type { PeerConnection } from "../wan/connection.ts";
import { dial, type Identity } from "../wan/handshake.ts";
import { readTlsCredentials } from "../wan/tls-credentials.ts";
import { exchangeClaims } from "./claims.ts";
import { forgetReplacedFiles, resolveDisks } from "./disk-files.ts";
import { LegArrivals } from "./leg-arrivals.ts";
import { ManagedVm } from "./managed-vm.ts";
import { PeerPool } from "./peer-pool.ts";
import { VmKeys } from "./vm-keys.ts";
import { checkDefinition } from "./vm-launch.ts";

/** What the parts of an agent share. */
export class Agent {
  readonly config: SiteConfig;
  readonly log: Logger;
  /** For cold paths; each leg has a core of its own. */
  readonly core: Core;
  readonly ownership: OwnershipRegister;
  readonly keys: VmKeys;
  readonly identity: Identity;
  /** Connections made ahead of need. */
  readonly peers: PeerPool;
  /** Legs that arrive here. */
  readonly arrivals = new LegArrivals();
  private readonly end = new AbortController();
  private readonly vms = new Map<string, ManagedVm>();
  private tidying: Promise<unknown> = Promise.resolve();

  private constructor(config: SiteConfig, log: Logger, core: Core, identity: Identity) {
    this.config = config;
    this.log = log;
    this.core = core;
    this.identity = identity;
    this.ownership = new FileOwnershipRegister(config.store);
    this.keys = new VmKeys(config.keys);
    this.peers = new PeerPool(
      async (site) => {
        const connection = await this.dialPeer(site);
        await exchangeClaims(this, connection);
        return connection;
      },
      (peer, reason) => log.warn({ peer, reason }, "cannot connect to a peer"),
    );
  }

  /** Opens the store and reads the VMs in it. Throws OperationError. */
  static async open(config: SiteConfig, log: Logger): Promise<Agent> {
    const identity = {
      site: config.site,
      token: config.token && (await readToken(config.token.file)),
      tls: config.tls && (await readTlsCredentials(config.tls)),
    };
    const agent = new Agent(config, log, await loadCore(), identity);
    for (const name of await readdir(config.store).catch(() => [] as string[])) {
      if (!isValidName(name)) continue;
      const path = join(config.store, name, "vm.yaml");
      const text = await readFile(path, "utf8").catch(() => null);
      if (text === null) continue;
      agent.add(parseDefinition(text, path));
    }
    return agent;
  }

  /** Removes what unfinished legs left. Only for the agent that has the control socket: another's leg may be under way. */
  async sweep(): Promise<void> {
    await this.keys.sweep();
    for (const vm of this.list()) {
      const removed = await vm.store.sweep().catch((error) => {
        // What is damaged of one VM must not keep the others from running.
        this.log.error({ vm: vm.name, reason: messageOf(error) }, "cannot tidy the store");
        return 0;
      });
      if (removed > 0) this.log.info({ vm: vm.name, removed }, "removed what unfinished legs had left");
    }
  }

  /** Fires when the agent is told to end. */
  get ending(): AbortSignal {
    return this.end.signal;
  }

  /** Ends what the agent does; VMs run on. */
  stop(): void {
    this.end.abort();
    this.peers.stop();
    for (const vm of this.list()) {
      vm.activity?.cancel.abort();
      this.background("Ending a standing migration", () => vm.tracking.end("the agent has ended"));
    }
  }

  list(): ManagedVm[] {
    return [...this.vms.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  find(name: string): ManagedVm | null {
    return this.vms.get(name) ?? null;
  }

  /** The VM of that name. Throws OperationError if there is none. */
  require(name: string): ManagedVm {
    const vm = this.vms.get(name);
    if (vm) return vm;
    const known = [...this.vms.keys()].sort().join(", ") || "none are";
    throw new OperationError(
      "failed",
      `Cannot find VM ${JSON.stringify(name.slice(0, 80))} at site ${this.config.site}; defined here: ${known}`,
    );
  }

  /** Defines a VM, or changes the definition of one that does not run. */
  async define(given: VmDefinition): Promise<ManagedVm> {
    const { name } = given;
    await checkDefinition(this.config, given);
    const known = this.find(name);
    if (known?.qemu || known?.activity) {
      throw new OperationError("failed", `Cannot define ${name} again while it runs here`);
    }
    const images = new ImageStore(join(this.config.store, name));
    const definition = await resolveDisks(given, images);
    await this.keys.readOrMake(name);
    if (known) await forgetReplacedFiles(known, definition);
    return await this.save(definition);
  }

  /** Keeps a definition that came with a leg; the arguments are this site's own. */
  async save(definition: VmDefinition): Promise<ManagedVm> {
    const known = this.find(definition.name);
    const text = formatDefinition(definition);
    if (known && formatDefinition(known.definition) === text) return known;
    const vm = known ?? this.add(definition);
    await vm.store.prepare();
    await writeFileAtomically(join(vm.store.path, "vm.yaml"), text);
    vm.definition = definition;
    return vm;
  }

  /** Forgets a VM that came with a leg and never came to be here. A promise that it made stays. */
  async forget(vm: ManagedVm): Promise<void> {
    // A promise that is made meanwhile would go with the folder.
    await vm.exclusively(async () => {
      const record = await this.ownership.read(vm.name);
      const { generations } = await vm.store.list();
      // "away" without anything retained is what the leg that failed has noted.
      if (!["none", "away"].includes(record.state) || record.refusedEpoch > 0 || generations.length > 0)
        return;
      this.vms.delete(vm.name);
      await rm(vm.store.path, { recursive: true, force: true });
      await this.keys.remove(vm.name);
    });
  }

  /** An authenticated connection to a peer, made ahead of need if there is one. Throws OperationError. */
  async connect(site: string): Promise<PeerConnection> {
    if (!Object.hasOwn(this.config.peers, site)) return await this.dialPeer(site);
    const connection = await this.peers.take(site);
    this.peers.keep(site);
    return connection;
  }

  /** A new authenticated connection to a peer, whatever is ready. Throws OperationError. */
  async dialPeer(site: string): Promise<PeerConnection> {
    if (!Object.hasOwn(this.config.peers, site)) {
      const known = Object.keys(this.config.peers).join(", ") || "none";
      throw new OperationError(
        "failed",
        `Cannot find peer ${JSON.stringify(site.slice(0, 80))}; peers of this site: ${known}`,
      );
    }
    return await dial(site, this.config.peers[site], this.identity);
  }

  /** Runs something in the background; a failure is logged, not lost. */
  background(what: string, action: () => Promise<void>): void {
    action().catch((error) => this.log.warn({ reason: messageOf(error) }, `${what} failed`));
  }

  /** Does what keeps the disk busy for long, for one VM after the other. */
  afterOtherTidying(action: () => Promise<void>): Promise<void> {
    const next = this.tidying.then(action, action);
    this.tidying = next.catch(() => {});
    return next;
  }

  private add(definition: VmDefinition): ManagedVm {
    const { store, run } = this.config;
    const vm = new ManagedVm(this.core, store, join(run, definition.name), definition);
    this.vms.set(definition.name, vm);
    return vm;
  }
}

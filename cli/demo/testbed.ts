/** Sites on this machine, an emulated WAN between them, and the boot-sector guest that moves. */

import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stringify } from "yaml";
import { lostWriteRisk, probeQemu } from "../qemu/probe.ts";
import { QmpClient } from "../qemu/qmp-client.ts";
import { makeSiteCertificate, type SiteCertificate } from "../wan/tls-certificate.ts";
import { DemoDisk, type DemoDiskOptions } from "./demo-disk.ts";
import { freePorts } from "./free-ports.ts";
import { bootImage, type GuestContent, ticksPerSecond } from "./guest.ts";
import { GuestConsole } from "./guest-console.ts";
import { diskName, GuestDisk } from "./guest-disk.ts";
import { forkLink, type RemoteLink } from "./link-process.ts";
import { SiteProcess } from "./site-process.ts";

/** The guest's machine type: one that QEMU 7.2 and all later ones have. */
export const guestMachine = "pc-i440fx-7.2";
/** Name of the VM. */
export const guestName = "demo";

/** What the testbed is made of. */
export interface TestbedOptions {
  readonly memoryBytes: number;
  /** Guest memory that is filled. */
  readonly fillBytes: number;
  /** With what; default `dense`, which hardly compresses. */
  readonly content?: GuestContent;
  readonly workingSetBytes: number;
  /** Pages of the working set that the guest changes a second. */
  readonly dirtyPagesPerSecond: number;
  readonly rateBitsPerSecond: number;
  readonly rttMs: number;
  /** Where the sites' stores stay; null: nowhere. */
  readonly keepFolder: string | null;
  readonly qemuBinary?: string;
  /** QEMU programs of single sites, instead of that one. */
  readonly qemuBinaryAt?: Readonly<Record<string, string>>;
  /** The guest's machine type; `guestMachine` by default. */
  readonly machine?: string;
  /** Names of the sites; the guest is defined at the first one. a and b by default. */
  readonly siteNames?: readonly string[];
  /** QEMU arguments of another guest, instead of the boot-sector one; its serial port is at `consolePath`. */
  readonly guest?: (consolePath: string) => readonly string[];
  /** More QEMU arguments of the guest at a site; sockets belong in the given folder. */
  readonly moreArguments?: (site: string, socketFolder: string) => readonly string[];
  /** Generations that each site keeps. */
  readonly keep?: number;
  /** How each site's QEMU is confined, as `qemu` of a configuration has it. */
  readonly confinement?: Readonly<Record<string, unknown>>;
  /** What each site lets arriving VMs use, as `accept` of a configuration has it. */
  readonly accept?: Readonly<Record<string, unknown>>;
  /** A disk of the guest that is made for it; see `Testbed.disk`. */
  readonly disk?: DemoDiskOptions | null;
  /** More disks of the guest, as a definition has them; their files must be there when the sites start. */
  readonly disks?: readonly Readonly<Record<string, unknown>>[];
  /** How the sites find out what the guest has changed, as `tracking` of a definition has it. */
  readonly tracking?: "scan" | "standing";
  /** Environment variables of the agents, beside those of this process. */
  readonly env?: Readonly<Record<string, string>>;
}

/** A memory size near `memoryBytes` with which this QEMU does not lose guest writes under TCG. */
export async function safeMemoryBytes(memoryBytes: number, qemuBinary: string): Promise<number> {
  const { version } = await probeQemu(qemuBinary);
  return lostWriteRisk({ version, accel: "tcg", memoryBytes }) === null ? memoryBytes : memoryBytes - 8192;
}

/** The guest's QEMU arguments; its console is at `consolePath`. */
export function guestArguments(imagePath: string, consolePath: string): string[] {
  return [
    ...["-drive", `file=${imagePath},format=raw,if=floppy,readonly=on`],
    ...["-serial", `unix:${consolePath},server=on,wait=off`],
    ...["-nic", "none"],
  ];
}

/** Sites and a link from each to each other one. Close it whatever happens. */
export class Testbed {
  readonly options: TestbedOptions;
  /** Short folder for sockets, removed at the end. */
  readonly socketFolder: string;
  readonly imagePath: string;
  /** The disk of the options; null: none. */
  readonly disk: DemoDisk | null;
  readonly sites = new Map<string, SiteProcess>();
  private readonly links: RemoteLink[] = [];
  private readonly linksByRoute = new Map<string, RemoteLink>();

  private constructor(options: TestbedOptions, socketFolder: string, disk: DemoDisk | null) {
    this.options = options;
    this.disk = disk;
    this.socketFolder = socketFolder;
    this.imagePath = join(socketFolder, "guest.img");
  }

  /** Makes the folders, the guest's image and its disk; no process yet. */
  static async create(options: TestbedOptions): Promise<Testbed> {
    const socketFolder = await mkdtemp(join(tmpdir(), "bfmig-"));
    try {
      // The first site's store stands on the disk's file, so it stays where the stores stay.
      const diskFolder = options.keepFolder ?? socketFolder;
      await mkdir(diskFolder, { recursive: true });
      const path = join(diskFolder, `${diskName}.raw`);
      const disk = options.disk ? await DemoDisk.create(path, options.disk) : null;
      const testbed = new Testbed(options, socketFolder, disk);
      const { fillBytes, workingSetBytes, dirtyPagesPerSecond, content } = options;
      const dirtyPagesPerTick = Math.round(dirtyPagesPerSecond / ticksPerSecond);
      const shape = { fillBytes, workingSetBytes, dirtyPagesPerTick, ...(content && { content }) };
      await writeFile(testbed.imagePath, bootImage(shape));
      return testbed;
    } catch (error) {
      await rm(socketFolder, { recursive: true, force: true });
      throw error;
    }
  }

  /** Starts a link of the testbed's rate and delay to a port. */
  async openLink(targetHost: string, targetPort: number, listenPort = 0): Promise<RemoteLink> {
    const { rateBitsPerSecond, rttMs } = this.options;
    const link = await forkLink({
      targetHost,
      targetPort,
      listenPort,
      rateBitsPerSecond,
      oneWayDelayMs: rttMs / 2,
    });
    this.links.push(link);
    return link;
  }

  /** Starts the links and all agents, and defines the guest at the first site. */
  async startSites(): Promise<void> {
    const { keepFolder, memoryBytes, keep, env, siteNames = ["a", "b"] } = this.options;
    const { confinement, accept, machine = guestMachine, tracking = "scan" } = this.options;
    const ports = new Map<string, number>();
    for (const port of await freePorts(siteNames.length)) ports.set(siteNames[ports.size], port);
    const certificates = new Map<string, SiteCertificate>();
    for (const name of siteNames) certificates.set(name, await makeSiteCertificate(name));
    const root = keepFolder ?? this.socketFolder;
    for (const [name, port] of ports) {
      const qemuBinary = this.options.qemuBinaryAt?.[name] ?? this.options.qemuBinary;
      const peers: Record<string, { url: string; fingerprint: string }> = {};
      for (const [peer, peerPort] of ports) {
        if (peer === name) continue;
        const link = await this.openLink("127.0.0.1", peerPort);
        this.linksByRoute.set(`${name} ${peer}`, link);
        const { fingerprint } = certificates.get(peer) as SiteCertificate;
        peers[peer] = { url: `wss://127.0.0.1:${link.port}`, fingerprint };
      }
      const site = await SiteProcess.start({
        name,
        folder: join(root, name),
        socketFolder: join(this.socketFolder, "run"),
        port,
        peers,
        certificate: certificates.get(name) as SiteCertificate,
        arrivals: { [guestName]: { args: this.argumentsAt(name), tracking } },
        ...(qemuBinary === undefined ? {} : { qemuBinary }),
        ...(keep === undefined ? {} : { keep }),
        ...(env === undefined ? {} : { env }),
        ...(confinement === undefined ? {} : { confinement }),
        ...(accept === undefined ? {} : { accept }),
      });
      this.sites.set(name, site);
    }
    const definition = {
      name: guestName,
      memory: memoryBytes,
      machine,
      cpu: "qemu64",
      accel: ["tcg"],
      args: this.argumentsAt(siteNames[0]),
      tracking,
      disks: [...this.ownDisk(), ...(this.options.disks ?? [])],
    };
    await mkdir(root, { recursive: true });
    await this.site(siteNames[0]).ask("define", { text: stringify(definition), path: "demo.yaml" });
  }

  /** Starts the agent of a site again that has ended. */
  async restartSite(name: string): Promise<SiteProcess> {
    const site = await SiteProcess.start(this.site(name).options);
    this.sites.set(name, site);
    return site;
  }

  /** The link that one site's connections to another go through. */
  link(from: string, to: string): RemoteLink {
    return this.linksByRoute.get(`${from} ${to}`) as RemoteLink;
  }

  site(name: string): SiteProcess {
    return this.sites.get(name) as SiteProcess;
  }

  /** Socket of the guest's serial port at a site. */
  consolePath(site: string): string {
    return join(this.socketFolder, `${site}.tty`);
  }

  /** The guest's console at a site where it runs. */
  openConsole(site: string): Promise<GuestConsole> {
    return GuestConsole.connect(this.consolePath(site));
  }

  /** The guest's disk, where it runs. */
  async openDisk(site: string): Promise<GuestDisk> {
    if (this.disk === null) throw new TypeError("Cannot open the guest's disk: it has none");
    const qmp = await QmpClient.connect(this.monitorPath(site));
    return new GuestDisk(qmp, this.disk, this.socketFolder);
  }

  /** Ends every process of the testbed and removes its folder. */
  async close(): Promise<void> {
    await Promise.allSettled([...this.sites.values()].map((site) => site.stopWith(guestName)));
    await Promise.allSettled(this.links.map((link) => link.close()));
    await rm(this.socketFolder, { recursive: true, force: true });
  }

  private argumentsAt(site: string): string[] {
    const { guest, moreArguments } = this.options;
    const consolePath = this.consolePath(site);
    const more = moreArguments?.(site, this.socketFolder) ?? [];
    // QEMU serves one client on a socket, and that is the agent: the disk is reached over another one.
    const monitor = this.disk ? ["-qmp", `unix:${this.monitorPath(site)},server=on,wait=off`] : [];
    return [...(guest?.(consolePath) ?? guestArguments(this.imagePath, consolePath)), ...monitor, ...more];
  }

  private ownDisk(): Record<string, unknown>[] {
    return this.disk ? [{ id: diskName, file: this.disk.path, format: "raw" }] : [];
  }

  private monitorPath(site: string): string {
    return join(this.socketFolder, `${site}.monitor`);
  }
}

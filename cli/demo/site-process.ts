/** A site on this machine: an agent in a process of its own, with its configuration in a folder. */

import { type ChildProcess, spawn } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { stringify } from "yaml";
import { ask, type ControlLine } from "../control-client.ts";
import { killBlockHost } from "../disk/block-host.ts";
import { OperationError } from "../errors.ts";
import { killQemu } from "../qemu/process.ts";
import type { SiteCertificate } from "../wan/tls-certificate.ts";

const mainPath = fileURLToPath(new URL("../main.js", import.meta.url));
const logTailLines = 20;

/** What a site needs to be started. */
export interface SiteOptions {
  readonly name: string;
  /** Folder of the store and the keys. */
  readonly folder: string;
  /** Folder of sockets; its path must be short. */
  readonly socketFolder: string;
  readonly port: number;
  /** The site's key and certificate. */
  readonly certificate: SiteCertificate;
  /** All VMs may go to them and come from them. */
  readonly peers: Readonly<Record<string, { readonly url: string; readonly fingerprint: string }>>;
  /** QEMU arguments for VMs that arrive. */
  readonly arrivals: Readonly<
    Record<string, { readonly args: readonly string[]; readonly tracking?: "scan" | "standing" }>
  >;
  readonly qemuBinary?: string;
  /** Arguments that QEMU needs on this machine whatever the VM. */
  readonly qemuArgs?: readonly string[];
  readonly keep?: number;
  /** Fields of `qemu` beside the binary and the arguments. */
  readonly confinement?: Readonly<Record<string, unknown>>;
  /** What arriving VMs may use; the defaults of the configuration if left out. */
  readonly accept?: Readonly<Record<string, unknown>>;
  /** Environment variables of the agent, beside those of this process. */
  readonly env?: Readonly<Record<string, string>>;
}

/** A running agent. */
export class SiteProcess {
  readonly options: SiteOptions;
  readonly controlPath: string;
  private readonly child: ChildProcess;
  private readonly exited: Promise<void>;
  private readonly logLines: string[] = [];

  private constructor(options: SiteOptions, controlPath: string, configPath: string) {
    this.options = options;
    this.controlPath = controlPath;
    // A group of its own: Ctrl-C in the terminal is for whoever started the site, who ends it in order.
    this.child = spawn(process.execPath, [mainPath, "agent", "--config", configPath, "--json"], {
      detached: true,
      env: { ...process.env, ...options.env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.exited = new Promise((resolve) => this.child.once("exit", () => resolve()));
    createInterface({ input: this.child.stderr as NodeJS.ReadableStream }).on("line", (line) => {
      this.logLines.push(line);
      if (this.logLines.length > logTailLines * 10) this.logLines.splice(0, logTailLines);
    });
  }

  /** Writes the configuration and starts the agent. Throws OperationError with the end of its log. */
  static async start(options: SiteOptions): Promise<SiteProcess> {
    const { name, folder, socketFolder } = options;
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await mkdir(socketFolder, { recursive: true, mode: 0o700 });
    const control = join(socketFolder, `${name}.sock`);
    const configPath = join(folder, "site.yaml");
    await writeFile(join(folder, "site.key"), options.certificate.key, { mode: 0o600 });
    await writeFile(join(folder, "site.crt"), options.certificate.cert);
    const config = {
      site: name,
      store: "store",
      listen: `127.0.0.1:${options.port}`,
      control,
      run: join(socketFolder, name),
      tls: { cert: "site.crt", key: "site.key" },
      peers: Object.fromEntries(
        Object.entries(options.peers).map(([peer, address]) => [
          peer,
          { ...address, maySend: ["*"], mayReceive: ["*"] },
        ]),
      ),
      qemu: {
        binary: options.qemuBinary ?? "qemu-system-x86_64",
        args: [...(options.qemuArgs ?? [])],
        ...options.confinement,
      },
      ...(options.accept === undefined ? {} : { accept: options.accept }),
      arrivals: Object.fromEntries(
        Object.entries(options.arrivals).map(([vm, { args, ...rest }]) => [vm, { ...rest, args: [...args] }]),
      ),
      ...(options.keep === undefined ? {} : { keep: options.keep }),
    };
    await writeFile(configPath, stringify(config));
    const site = new SiteProcess(options, control, configPath);
    await site.ready();
    return site;
  }

  get pid(): number {
    return this.child.pid as number;
  }

  /** The end of the agent's log. */
  get logTail(): string {
    return this.logLines.slice(-logTailLines).join("\n");
  }

  /** The agent's log as far as it is kept. */
  get log(): string {
    return this.logLines.join("\n");
  }

  /** Where the store is. */
  get storePath(): string {
    return join(this.options.folder, "store");
  }

  /** Folder of a VM's sockets. */
  runPath(vm: string): string {
    return join(this.options.socketFolder, this.options.name, vm);
  }

  /** Asks the agent. Throws OperationError with its answer. */
  ask(
    command: string,
    body: object,
    onLine?: (line: ControlLine) => void,
    signal?: AbortSignal,
  ): Promise<ControlLine> {
    return ask(this.controlPath, command, body, { ...(onLine && { onLine }), ...(signal && { signal }) });
  }

  /** Ends the agent as an operator would. Its VMs go on. */
  async stop(): Promise<void> {
    this.child.kill("SIGTERM");
    await this.exited;
  }

  /** Ends the agent as a crash would. */
  async kill(): Promise<void> {
    this.child.kill("SIGKILL");
    await this.exited;
  }

  /** Ends the agent and the QEMU of a VM, if one is left here. */
  async stopWith(vm: string): Promise<void> {
    await this.stop();
    await killQemu(this.runPath(vm));
    await killBlockHost(this.runPath(vm));
  }

  private async ready(): Promise<void> {
    const lines = createInterface({ input: this.child.stdout as NodeJS.ReadableStream });
    const isReady = new Promise<boolean>((resolve) => {
      lines.once("line", () => resolve(true));
      this.exited.then(() => resolve(false));
    });
    if (await isReady) return;
    throw new OperationError(
      "failed",
      `Cannot start the agent of site ${this.options.name}:\n${this.logTail}`,
    );
  }
}

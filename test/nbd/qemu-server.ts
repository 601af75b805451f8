/** QEMU's own NBD server for tests: a QEMU without a machine, disks that QMP adds, and their exports. */

import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { launchQemu, type QemuProcess, qmpSocketPath } from "../../cli/qemu/process.ts";
import { QEMU_BINARY, type Teardown, temporaryFolder } from "../qemu/qemu-fixture.ts";

const run = promisify(execFile);

/** Runs a program and resolves to what it wrote to stdout. */
export async function output(program: string, ...args: string[]): Promise<string> {
  const { stdout } = await run(program, args, { maxBuffer: 64 * 1024 * 1024, timeout: 60_000 });
  return stdout;
}

/** Whether a program is on PATH. */
export async function isInstalled(program: string): Promise<boolean> {
  return run(program, ["--version"]).then(
    () => true,
    () => false,
  );
}

/** A QEMU that serves disks. */
export class QemuServer {
  readonly folder: string;
  readonly socketPath: string;
  readonly qemu: QemuProcess;

  private constructor(folder: string, qemu: QemuProcess) {
    this.folder = folder;
    this.socketPath = join(folder, "nbd.sock");
    this.qemu = qemu;
  }

  /** Starts one; it is killed after the test. */
  static async start(test: Teardown): Promise<QemuServer> {
    const folder = await temporaryFolder(test);
    const qmp = `unix:${qmpSocketPath(folder)},server=on,wait=off`;
    const args = ["-machine", "none", "-nodefaults", "-display", "none", "-S", "-qmp", qmp];
    const qemu = await launchQemu(QEMU_BINARY, args, { runDir: folder, name: "nbd-test" });
    test.teardown(() => qemu.kill());
    const server = new QemuServer(folder, qemu);
    const addr = { type: "unix", data: { path: server.socketPath } };
    await qemu.qmp.execute("nbd-server-start", { addr, "max-connections": 0 });
    return server;
  }

  /** Makes an image and adds it as a block node of the same name; resolves to the image's path. */
  async addDisk(
    name: string,
    driver: "raw" | "qcow2",
    sizeBytes: number,
    options: { readonly backing?: string } = {},
  ): Promise<string> {
    const path = join(this.folder, `${name}.${driver}`);
    const file = `${name}-file`;
    await run("truncate", ["-s", String(driver === "raw" ? sizeBytes : 0), path]);
    await this.qemu.qmp.execute("blockdev-add", { driver: "file", "node-name": file, filename: path });
    if (driver === "qcow2") await this.#create({ driver, file, size: sizeBytes });
    const backing = options.backing === undefined ? {} : { backing: options.backing };
    await this.qemu.qmp.execute("blockdev-add", { driver, "node-name": name, file, ...backing });
    return path;
  }

  /** Exports a block node under its name. */
  async addExport(
    name: string,
    options: {
      readonly writable?: boolean;
      readonly bitmaps?: readonly string[];
      readonly exportName?: string;
    } = {},
  ): Promise<void> {
    await this.qemu.qmp.execute("block-export-add", {
      type: "nbd",
      id: options.exportName ?? name,
      "node-name": name,
      name: options.exportName ?? name,
      writable: options.writable ?? false,
      bitmaps: options.bitmaps ?? [],
      "allocation-depth": true,
    });
  }

  async #create(options: Record<string, unknown>): Promise<void> {
    const { qmp } = this.qemu;
    const done = qmp.waitForEvent("JOB_STATUS_CHANGE", {
      where: (data) => data["status"] === "concluded",
      timeoutMs: 10_000,
    });
    await qmp.execute("blockdev-create", { "job-id": "create", options });
    await done;
    await qmp.execute("job-dismiss", { id: "create" });
  }
}

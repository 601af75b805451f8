/** A QEMU with the demo's guest, for tests: a private folder, QMP, the serial port, and how to end it. */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { bootImage, type GuestOptions } from "../../cli/demo/guest.ts";
import { GuestConsole } from "../../cli/demo/guest-console.ts";
import { QmpClient } from "../../cli/qemu/qmp-client.ts";
import { testMachine, testQemu } from "../qemu/test-qemu.ts";

const PAGE = 4096;

/**
 * What `startGuest` needs. The memory is in KiB and no multiple of 256: with such a one QEMU 7.2 under TCG loses
 * guest writes during a migration.
 */
export interface MachineOptions extends GuestOptions {
  readonly memoryKiB: number;
  readonly incoming?: boolean;
  /** A raw file that becomes the disk `disk0`, with a node of the same name. */
  readonly diskPath?: string;
}

/** A running QEMU. */
export interface Machine {
  /** A folder of its own, removed at the end. */
  readonly folder: string;
  readonly qmp: QmpClient;
  /** Connects to the serial port; the caller closes it, or `stop` does. */
  openConsole(): Promise<GuestConsole>;
  /** Guest-physical memory, by page number. */
  readPages(firstPage: number, pageCount: number): Promise<Uint8Array>;
  stop(): Promise<void>;
}

/** Starts QEMU and connects to QMP. */
export async function startGuest(options: MachineOptions): Promise<Machine> {
  const folder = await mkdtemp(join(tmpdir(), "bfmig-guest-"));
  const path = (name: string) => join(folder, name);
  await writeFile(path("guest.img"), bootImage(options));
  const child = spawn(
    testQemu,
    [
      ...["-accel", "tcg", "-machine", testMachine, "-m", `${options.memoryKiB}K`, "-nodefaults"],
      ...["-display", "none", "-drive", `file=${path("guest.img")},format=raw,if=floppy,readonly=on`],
      ...["-serial", `unix:${path("serial.sock")},server=on,wait=off`],
      ...["-qmp", `unix:${path("qmp.sock")},server=on,wait=off`],
      ...(options.diskPath === undefined ? [] : diskArguments(options.diskPath)),
      ...(options.incoming === true ? ["-incoming", "defer"] : []),
    ],
    { stdio: ["ignore", "ignore", "inherit"] },
  );
  const qmp = await connectQmp(path("qmp.sock"), child);
  const consoles: GuestConsole[] = [];
  return {
    folder,
    qmp,
    async openConsole() {
      const guest = await GuestConsole.connect(path("serial.sock"));
      consoles.push(guest);
      return guest;
    },
    async readPages(firstPage, pageCount) {
      const filename = path("memory.bin");
      await qmp.execute("pmemsave", { val: firstPage * PAGE, size: pageCount * PAGE, filename });
      return readFile(filename);
    },
    async stop() {
      for (const guest of consoles) guest.close();
      qmp.close();
      if (child.exitCode === null && child.signalCode === null) {
        const exited = once(child, "exit");
        child.kill("SIGKILL");
        await exited;
      }
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function diskArguments(filename: string): string[] {
  const node = { driver: "raw", "node-name": "disk0", file: { driver: "file", filename } };
  return ["-blockdev", JSON.stringify(node), "-device", "virtio-blk-pci,drive=disk0,id=disk0"];
}

async function connectQmp(path: string, child: ChildProcess): Promise<QmpClient> {
  for (;;) {
    try {
      return await QmpClient.connect(path);
    } catch (error) {
      if (child.exitCode !== null || child.signalCode !== null) throw error;
      await sleep(20);
    }
  }
}

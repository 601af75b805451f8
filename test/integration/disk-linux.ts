/** A Linux guest with an ext4 disk at sites with agents: it writes while it moves. */

import { execFile } from "node:child_process";
import { join } from "node:path";
import type { Test } from "tap";
import type { MigrateDone } from "../../cli/agent/migrate.ts";
import { guestName, type TestbedOptions } from "../../cli/demo/testbed.ts";
import { bitmapsOf, blockNodes } from "../../cli/disk/dirty-bitmaps.ts";
import { makeExt4Image } from "../../cli/experiments/guest/ext4.ts";
import { LinuxConsole } from "../../cli/experiments/guest/linux-console.ts";
import { temporaryFolder } from "../qemu/qemu-fixture.ts";
import { flushed, type Inserted, runQemuImg } from "./disk-tools.ts";
import { LINUX_GUEST_MEMORY_BYTES, linuxArguments, prepareLinuxGuest } from "./linux-guest.ts";
import { differences } from "./memory.ts";
import { type LegOptions, Rig } from "./rig.ts";

const DISK_BYTES = 512 << 20;
const DISK_NAME = "disk0";

/** What `qemu-img compare` says of disks with the same content. */
export const IDENTICAL = "Images are identical.";

/** A leg after which memory and disk of both sites were compared while neither copy of the VM ran. */
interface LinuxLeg {
  readonly done: MigrateDone;
  /** Pages that differ; empty if there are none. */
  readonly memory: string;
  /** What `qemu-img compare` said. */
  readonly disk: string;
}

/** Sites with a running Linux guest. */
export class LinuxRig {
  readonly rig: Rig;
  readonly guest: LinuxConsole;

  private constructor(rig: Rig, guest: LinuxConsole) {
    this.rig = rig;
    this.guest = guest;
  }

  /** Starts the sites and the guest at the first one; returns when the guest obeys. */
  static async boot(t: Test, changes: Partial<TestbedOptions> = {}): Promise<LinuxRig> {
    const linux = await prepareLinuxGuest();
    const file = join(await temporaryFolder(t), "disk.qcow2");
    // A small journal: else it would be most of what a guest at rest has written.
    await makeExt4Image(file, DISK_BYTES, "qcow2", { mkfs: ["-J", "size=4"] });
    const rig = await Rig.start(t, {
      memoryBytes: LINUX_GUEST_MEMORY_BYTES,
      guest: (consolePath) => linuxArguments(linux, consolePath),
      disks: [{ id: DISK_NAME, file }],
      ...changes,
    });
    await rig.site("a").ask("start", { vm: guestName });
    const guest = await LinuxConsole.connect(rig.testbed.consolePath("a"));
    t.teardown(() => guest.close());
    await guest.ready();
    return new LinuxRig(rig, guest);
  }

  /** One leg; the console follows the guest. */
  async leg(from: string, to: string, options: LegOptions = {}): Promise<LinuxLeg> {
    const { rig, guest } = this;
    let disk = "";
    const whileStill = async () => {
      const chains = await Promise.all([from, to].map(async (site) => flushed(await this.disk(site))));
      disk = await compareDisks(chains);
    };
    const { done, source, destination } = await rig.comparedLeg(from, to, { ...options, whileStill });
    await guest.reconnect(rig.testbed.consolePath(to));
    return { done, memory: differences(source, destination), disk };
  }

  /** Removes the bitmap of what changed since the last generation. */
  async loseBitmap(site: string): Promise<void> {
    const monitor = await this.rig.monitor(site);
    const node = (await this.disk(site))["node-name"];
    const bitmaps = bitmapsOf(await blockNodes(monitor), node);
    if (bitmaps.length !== 1) throw new Error(`One bitmap was expected: ${JSON.stringify(bitmaps)}`);
    await monitor.execute("block-dirty-bitmap-remove", { node, name: bitmaps[0]?.name });
  }

  /** Has the guest unmount the file system, ends the VM and returns a raw copy of its disk. */
  async shutDown(t: Test, site: string): Promise<string> {
    const chain = flushed(await this.disk(site));
    await this.guest.command("umount");
    await this.rig.site(site).ask("stop", { vm: guestName, force: true, timeoutMs: 1000 });
    const raw = join(await temporaryFolder(t), "disk.raw");
    await runQemuImg(["convert", "-O", "raw", chain, raw]);
    return raw;
  }

  private async disk(site: string): Promise<Inserted> {
    const monitor = await this.rig.monitor(site);
    const devices = await monitor.execute<{ qdev?: string; inserted?: Inserted }[]>("query-block");
    const found = devices.find(({ qdev }) => qdev?.includes(DISK_NAME))?.inserted;
    if (found === undefined) throw new Error(`QEMU at ${site} has no ${DISK_NAME}`);
    return found;
  }
}

/** QEMUs may have them open; nobody writes to them now. */
async function compareDisks(chains: readonly string[]): Promise<string> {
  return await new Promise((resolve) => {
    execFile("qemu-img", ["compare", "-U", ...chains], (_error, stdout, stderr) => {
      resolve(`${stdout}${stderr}`.trim());
    });
  });
}

/** A Linux guest with an ext4 disk at sites with agents: it writes while it moves. */

import { execFile } from "node:child_process";
import { join } from "node:path";
import type { Test } from "tap";
import type { MigrateDone } from "../../cli/agent/migrate.ts";
import type { TestbedOptions } from "../../cli/demo/testbed.ts";
import { guestName } from "../../cli/demo/testbed.ts";
import { temporaryFolder } from "../qemu/qemu-fixture.ts";
import { LINUX_GUEST_MEMORY_BYTES, linuxArguments, prepareLinuxGuest } from "./linux-guest.ts";
import { LinuxConsole } from "./linux-guest-console.ts";
import { convertToRaw, makeExt4Image } from "./linux-guest-ext4.ts";
import { type LegOptions, Rig } from "./rig.ts";

const MIB = 1 << 20;
const DISK_BYTES = 512 * MIB;
const DISK_NAME = "disk0";

interface BlockDevice {
  readonly qdev?: string;
  readonly inserted?: { readonly "node-name": string; readonly image: { readonly filename: string } };
}

/** A leg after which the disks of both sites were compared while neither copy of the VM ran. */
export interface LinuxLeg {
  readonly done: MigrateDone;
  /** What `qemu-img compare` said. */
  readonly verdict: string;
}

/** What `qemu-img compare` says of disks with the same content. */
export const IDENTICAL = "Images are identical.";

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
    await makeExt4Image(file, DISK_BYTES, "qcow2");
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

  /** One leg; the console follows the guest. The source's agent is halted for the comparison. */
  async leg(from: string, to: string, options: LegOptions = {}): Promise<LinuxLeg> {
    const { rig, guest } = this;
    let comparing: Promise<string> | null = null;
    const onLine: LegOptions["onLine"] = (line) => {
      if (line["state"] !== "finishing") return;
      comparing = this.compare(from, to);
      comparing.catch(() => {});
    };
    const done = await rig.migrate(from, to, { ...options, onLine });
    await guest.reconnect(rig.testbed.consolePath(to));
    if (comparing === null) throw new Error("the leg never came to its end");
    return { done, verdict: await (comparing as Promise<string>) };
  }

  /** The disk in a site's QEMU: its node, and the file that the VM writes to. */
  async disk(site: string): Promise<{ readonly node: string; readonly file: string }> {
    const devices = await (await this.rig.monitor(site)).execute<BlockDevice[]>("query-block");
    const found = devices.find(({ qdev }) => qdev?.includes(DISK_NAME))?.inserted;
    if (found === undefined) throw new Error(`QEMU at ${site} has no ${DISK_NAME}`);
    return { node: found["node-name"], file: found.image.filename };
  }

  /** Removes the bitmap of what changed since the last generation. */
  async loseBitmap(site: string): Promise<void> {
    const monitor = await this.rig.monitor(site);
    const { node } = await this.disk(site);
    interface Node {
      readonly "node-name": string;
      readonly "dirty-bitmaps"?: readonly { readonly name: string }[];
    }
    const nodes = await monitor.execute<Node[]>("query-named-block-nodes", { flat: true });
    const bitmaps = nodes.find((one) => one["node-name"] === node)?.["dirty-bitmaps"] ?? [];
    if (bitmaps.length !== 1) throw new Error(`Expected one bitmap at ${site}: ${JSON.stringify(bitmaps)}`);
    await monitor.execute("block-dirty-bitmap-remove", { node, name: bitmaps[0]?.name });
  }

  /** Unmounts the file system, ends the VM and returns a raw copy of its disk. */
  async shutDown(t: Test, site: string): Promise<string> {
    const { file } = await this.disk(site);
    await this.guest.command("umount");
    await this.rig.site(site).ask("stop", { vm: guestName, force: true, timeoutMs: 0 });
    const raw = join(await temporaryFolder(t), "disk.raw");
    await convertToRaw(file, raw);
    return raw;
  }

  private async compare(from: string, to: string): Promise<string> {
    await this.rig.haltAtHandover(from, to);
    try {
      const [source, destination] = [await this.disk(from), await this.disk(to)];
      const verdict = await compareImages(source.file, destination.file);
      if ((await this.rig.runsAt(from)) || (await this.rig.runsAt(to))) {
        throw new Error("the source's agent was halted too late: a copy ran while disks were read");
      }
      return verdict;
    } finally {
      this.rig.resume(from);
    }
  }
}

/** Both images may be open elsewhere; nobody writes to them. */
async function compareImages(one: string, other: string): Promise<string> {
  const args = ["compare", "-U", "-f", "qcow2", "-F", "qcow2", one, other];
  return await new Promise((resolve) => {
    execFile("qemu-img", args, (_error, stdout, stderr) => resolve(`${stdout}${stderr}`.trim()));
  });
}

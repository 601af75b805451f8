/** What tests of standing migrations look at. */

import { readFile } from "node:fs/promises";
import type { TrackingReport } from "../../cli/agent/tracking-report.ts";
import { guestName } from "../../cli/demo/testbed.ts";
import type { Rig } from "./rig.ts";
import { waitFor } from "./wait-for.ts";

/** What a site says of its VM's tracking. */
export async function trackingAt(rig: Rig, site: string): Promise<TrackingReport> {
  const shown = await rig.site(site).ask("show", { vm: guestName });
  return shown["tracking"] as TrackingReport;
}

/** Waits until the VM at a site has a standing migration that is held. */
export async function untilStanding(rig: Rig, site: string): Promise<TrackingReport> {
  let last: TrackingReport | null = null;
  try {
    return await waitFor(`a standing migration at ${site}`, async () => {
      last = await trackingAt(rig, site);
      return last.mode === "standing" ? last : null;
    });
  } catch (error) {
    throw new Error(`${error}: ${JSON.stringify(last)}\n${await rig.condition()}`);
  }
}

/** Brings the guest from a to b, and waits until it stands there. */
export async function standAtB(rig: Rig): Promise<TrackingReport> {
  await rig.migrate("a", "b");
  await rig.untilAlive("b");
  return await untilStanding(rig, "b");
}

/** State of the migration in a site's QEMU, as QEMU has it. */
export async function migrationAt(rig: Rig, site: string): Promise<string> {
  const monitor = await rig.monitor(site);
  return (await monitor.execute<{ status: string }>("query-migrate")).status;
}

/** Resident memory of a site's QEMU, in bytes. */
export async function residentBytes(rig: Rig, site: string): Promise<number> {
  const text = await readFile(`/proc/${await rig.qemuPid(site)}/status`, "utf8");
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(text)?.[1]) * 1024;
}

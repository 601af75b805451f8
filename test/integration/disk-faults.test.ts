/** Legs that fail while disks are read: the VM stays, nothing is left over, and the next leg works. */

import t from "tap";
import { guestName } from "../../cli/demo/testbed.ts";
import {
  bootForFault,
  checkDiskAftermath,
  killBlockHost,
  legWithAccident,
  type Route,
  routes,
} from "./disk-fault.ts";
import type { DiskRig } from "./disk-rig.ts";
import type { LegOptions } from "./rig.ts";
import { waitFor } from "./wait-for.ts";

interface Accident {
  readonly name: string;
  readonly happen: (disks: DiskRig, route: Route) => Promise<unknown>;
  /** Makes the site whole again. */
  readonly mend?: (disks: DiskRig, route: Route) => Promise<unknown>;
  /** What the command says; "aborted" by default. */
  readonly reason?: string;
  readonly options?: LegOptions;
}

const accidents: readonly Accident[] = [
  {
    name: "the leg is cancelled",
    happen: ({ rig }, { from }) => rig.site(from).ask("cancel", { vm: guestName }),
  },
  {
    name: "the source's NBD server ends",
    happen: async ({ rig }, { from }) => (await rig.monitor(from)).execute("nbd-server-stop"),
  },
  {
    name: "the QEMU that writes the destination's images dies",
    happen: (disks, { to }) => killBlockHost(disks, to),
  },
  {
    name: "the destination's QEMU dies",
    happen: ({ rig }, { to }) => rig.killQemu(to),
  },
  {
    name: "the destination's agent dies",
    // Until it is back the leg waits for it.
    happen: async ({ rig }, { to }) => {
      await rig.site(to).kill();
      await rig.testbed.restartSite(to);
    },
  },
  {
    name: "the source's agent dies",
    happen: ({ rig }, { from }) => rig.site(from).kill(),
    mend: ({ rig }, { from }) => rig.testbed.restartSite(from),
    reason: "failed",
  },
  {
    name: "the link breaks for longer than the leg waits",
    happen: ({ rig }, { from, to }) => rig.testbed.link(from, to).cut(),
    mend: ({ rig }, { from, to }) => rig.testbed.link(from, to).restore(),
    options: { linkTimeoutMs: 1000 },
  },
];

for (const { name, happen, mend, reason = "aborted", options } of accidents) {
  for (const route of routes) {
    t.test(`${name} in a disk round of a ${route.leg} leg`, async (t) => {
      const disks = await bootForFault(t, route);
      const { error } = await legWithAccident(disks, route, () => happen(disks, route), options);
      t.equal(error?.reason, reason, `it ends: ${error?.message}`);
      await disks.rig.untilAlive(route.from);
      await mend?.(disks, route);
      await checkDiskAftermath(t, disks, route, route.leg);
    });
  }
}

for (const route of routes) {
  t.test(`a ${route.leg} leg goes on after the link was lost in a disk round`, async (t) => {
    const disks = await bootForFault(t, route);
    const { rig } = disks;
    const link = rig.testbed.link(route.from, route.to);
    const losses = () => rig.site(route.from).logTail.split("waits for the link").length;
    const before = losses();
    const { done } = await legWithAccident(disks, route, async () => {
      await link.cut();
      await waitFor("the source has noticed", () => losses() > before || null);
      await link.restore();
    });
    t.equal(done?.leg, route.leg);
    t.equal(done?.reconnects, 1);
    await rig.untilAlive(route.to);
    t.strictSame(await disks.differences(route.to), [], "the disk is right where the VM runs now");
    await checkDiskAftermath(t, disks, { from: route.to, to: route.from }, "return");
  });
}

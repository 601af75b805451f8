/** The source's QEMU dies while disks are read: the VM is gone, its disk is not. */

import t from "tap";
import { guestName } from "../../cli/demo/testbed.ts";
import { bootForFault, checkDiskAftermath, isClean, legWithAccident, routes } from "./disk-fault.ts";

for (const route of routes) {
  t.test(
    `the source's QEMU dies in a disk round of a ${route.leg} leg, and the VM starts on its disk`,
    async (t) => {
      const { from } = route;
      const disks = await bootForFault(t, route);
      const { rig } = disks;
      const { error } = await legWithAccident(disks, route, () => rig.killQemu(from));
      t.equal(error?.reason, "failed", `the VM does not run any more: ${error?.message}`);
      await isClean(t, disks, route);
      await rig.site(from).ask("start", { vm: guestName });
      await rig.onConsole(from, (guest) => guest.ready());
      await disks.io(from, "disk0", "write -P 99 40M 64k");
      // Whatever was retained before, memory is another one now; disks are compared with it.
      await checkDiskAftermath(t, disks, route, route.leg);
      const isWarned = rig.site(from).logTail.includes("cannot be trusted");
      t.equal(isWarned, route.leg === "return", "a bitmap of a QEMU that was killed is not trusted");
    },
  );
}

/** Disk images that another program has open. */

import t, { type Test } from "tap";
import { guestName } from "../../cli/demo/testbed.ts";
import { launchQemu, type QemuProcess, qmpSocketPath } from "../../cli/qemu/process.ts";
import { temporaryFolder } from "../qemu/qemu-fixture.ts";
import { testQemu } from "../qemu/test-qemu.ts";
import { bootForFault, checkDiskAftermath, routes } from "./disk-fault.ts";
import { DiskRig } from "./disk-rig.ts";

t.test("a VM does not start on an image that another QEMU writes to", async (t) => {
  const disks = await DiskRig.start(t, [{ id: "disk0", lengthBytes: 8 << 20 }]);
  const site = disks.rig.site("a");
  const path = disks.filePath("disk0");
  const other = await lock(t, path);
  const failure = await site.ask("start", { vm: guestName }).then(
    () => "it started",
    ({ message }) => message as string,
  );
  t.ok(failure.includes(path), `the file is named: ${failure}`);
  t.match(failure, /lock/, "and what is wrong with it");
  await other.quit();
  await site.ask("start", { vm: guestName });
  await disks.rig.onConsole("a", (guest) => guest.ready());
  t.strictSame(await disks.differences("a"), []);
});

t.test("a leg that would build on an image that another QEMU writes to ends before it begins", async (t) => {
  const [, route] = routes;
  if (route === undefined) throw new Error("no return leg");
  const disks = await bootForFault(t, route);
  const path = await disks.generationImage(route.to, 1, "disk0");
  const other = await lock(t, path);
  const { error } = await disks.rig.begin(route.from, route.to);
  t.equal(error?.reason, "aborted");
  t.ok(error?.message.includes(path), `the file is named: ${error?.message}`);
  t.match(error?.message, /lock/, "and what is wrong with it");
  await other.quit();
  await checkDiskAftermath(t, disks, route, "return");
});

/** Another QEMU that has an image open for writing; it is killed after the test. */
async function lock(t: Test, path: string): Promise<QemuProcess> {
  const runDir = await temporaryFolder(t);
  const args = [
    ...["-nodefaults", "-machine", "none", "-display", "none", "-S"],
    ...["-qmp", `unix:${qmpSocketPath(runDir)},server=on,wait=off`],
    ...["-blockdev", `driver=qcow2,node-name=held,file.driver=file,file.filename=${path}`],
  ];
  const other = await launchQemu(testQemu, args, { runDir, name: "another program" });
  t.teardown(() => other.kill());
  return other;
}

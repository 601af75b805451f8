import { join } from "node:path";
import t from "tap";
import { guestArguments, guestName } from "../../cli/demo/testbed.ts";
import { qemuArguments } from "../../cli/qemu/arguments.ts";
import { probeQemu } from "../../cli/qemu/probe.ts";
import { launchQemu, qmpSocketPath } from "../../cli/qemu/process.ts";
import { testMachine, testQemu } from "../qemu/test-qemu.ts";
import { checkAftermath } from "./aftermath.ts";
import { differences } from "./memory.ts";
import { Rig } from "./rig.ts";

t.test("a VM whose QEMU somebody else started is attached and goes there and back", async (t) => {
  const rig = await Rig.start(t);
  const { socketFolder, imagePath, options } = rig.testbed;
  const runDir = join(socketFolder, "foreign");
  const qmpPath = join(socketFolder, "foreign.qmp");
  const args = qemuArguments({
    name: "foreign",
    machine: testMachine,
    cpu: "qemu64",
    accel: ["tcg"],
    memoryBytes: options.memoryBytes,
    memory: { kind: "ram" },
    qmpPath: qmpSocketPath(runDir),
    incoming: false,
    paused: false,
    extra: [
      ...guestArguments(imagePath, join(socketFolder, "a.tty")),
      ...["-qmp", `unix:${qmpPath},server=on,wait=off`],
      ...["-qmp", `unix:${join(socketFolder, "a.mon")},server=on,wait=off`],
    ],
  });
  const { path } = await probeQemu(testQemu);
  const qemu = await launchQemu(path, args, { runDir, name: "foreign" });
  t.teardown(() => qemu.kill());
  await rig.onConsole("a", (guest) => guest.ready());

  await t.rejects(
    rig.site("a").ask("attach", { vm: guestName, qmpPath: join(socketFolder, "nobody") }),
    /Cannot attach/,
  );
  await rig.site("a").ask("attach", { vm: guestName, qmpPath });
  await rig.site("a").stop();
  await rig.testbed.restartSite("a");
  const shown = await rig.site("a").ask("show", { vm: guestName });
  t.equal(shown["qmp"], qmpPath, "a restarted agent finds it again");

  const counter = await rig.counter("a");
  const there = await rig.comparedLeg("a", "b");
  t.equal(there.done.leg, "first");
  t.equal(differences(there.source, there.destination), "", "no page differs between the sites");
  await qemu.exited;
  t.pass("the attached QEMU has ended after the handover");
  await checkAftermath(t, rig, "b", counter);
});

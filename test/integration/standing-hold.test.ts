/** What a VM with a standing migration bears. */

import { fileURLToPath } from "node:url";
import t from "tap";
import { guestName } from "../../cli/demo/testbed.ts";
import { checkAftermath } from "./aftermath.ts";
import { differences } from "./memory.ts";
import { Rig } from "./rig.ts";
import { migrationAt, residentBytes, standAtB, trackingAt, untilStanding } from "./standing-rig.ts";
import { waitFor } from "./wait-for.ts";

const standing = { tracking: "standing" } as const;
const resets = 20;
/** Twenty resets under a migration that is held with QEMU's locks leak some 140 MB; held well, some 35. */
const leakBytes = 80e6;

t.test("device_add is answered while the VM is held: refused, at once", async (t) => {
  const rig = await Rig.boot(t, standing);
  await standAtB(rig);
  const monitor = await rig.monitor("b");
  // A QEMU that is held in the wrong place does not answer before it is read on, which nobody does here.
  await t.rejects(
    monitor.execute("device_add", { driver: "virtio-rng-pci", id: "rng1" }, { timeoutMs: 20_000 }),
    /migrat/,
  );
  t.match(await trackingAt(rig, "b"), { mode: "standing" });
});

t.test("it stops in time though a file of the host is read late", async (t) => {
  const preload = fileURLToPath(new URL("./slow-file.js", import.meta.url));
  const rig = await Rig.boot(t, { ...standing, env: { NODE_OPTIONS: `--import=${preload}` } });
  t.match(await standAtB(rig), { mode: "standing" });
  const { done, source, destination } = await rig.comparedLeg("b", "a");
  t.equal(done.tracking, "standing");
  t.equal(differences(source, destination), "");
  await rig.untilAlive("a");
});

t.test("resets while the VM is held do not leak", async (t) => {
  const rig = await Rig.boot(t, standing);
  await standAtB(rig);
  const monitor = await rig.monitor("b");
  const before = await residentBytes(rig, "b");
  for (let i = 0; i < resets; i++) {
    const reset = monitor.waitForEvent("RESET");
    await monitor.execute("system_reset");
    await reset;
  }
  await rig.onConsole("b", (guest) => guest.ready());
  const grown = (await residentBytes(rig, "b")) - before;
  t.ok(grown < leakBytes, `QEMU has grown by ${Math.round(grown / 1e6)} MB`);
  t.match(await trackingAt(rig, "b"), { mode: "standing" });
  const { done, source, destination } = await rig.comparedLeg("b", "a");
  t.equal(done.tracking, "standing");
  t.equal(differences(source, destination), "");
  await rig.untilAlive("a");
});

t.test(
  "when QEMU stops the VM for the switchover by itself, the migration is cancelled at once",
  async (t) => {
    const rig = await Rig.boot(t, standing);
    await rig.migrate("a", "b");
    await rig.untilAlive("b");
    const monitor = await rig.monitor("b");
    const events: string[] = [];
    monitor.onEvent(({ name }) => events.push(name));
    const counter = await rig.counter("b");
    // While the hold is made QEMU still sends, and looks at its limits; whatever is left fits into such a downtime.
    await waitFor("the hold is being made", async () => {
      const { mode, why } = await trackingAt(rig, "b");
      return mode === "standing" || why === "the hold is being made" || null;
    });
    await monitor.execute("migrate-set-parameters", { "downtime-limit": 2_000_000 });
    await waitFor("it has ended", async () => (await migrationAt(rig, "b")) === "cancelled" || null);
    await rig.untilAlive("b");
    t.strictSame(
      events.filter((name) => ["STOP", "RESUME"].includes(name)),
      ["STOP", "RESUME"],
    );
    t.match(await trackingAt(rig, "b"), { mode: "scan", why: /came to the end of its pass/ });
    await checkAftermath(t, rig, "b", counter);
  },
);

t.test(
  "a VM with too little in its memory to be held is scanned, and not tried again and again",
  async (t) => {
    const rig = await Rig.boot(t, { ...standing, fillBytes: 4 << 20, workingSetBytes: 1 << 20 });
    await rig.migrate("a", "b");
    await rig.untilAlive("b");
    await waitFor("it was tried", async () => {
      const { mode, why } = await trackingAt(rig, "b");
      return (mode === "scan" && why?.includes("too empty")) || null;
    });
    const counter = await rig.counter("b");
    await checkAftermath(t, rig, "b", counter);
  },
);

t.test("the agent dies: the VM runs on, and the next leg scans", async (t) => {
  const rig = await Rig.boot(t, standing);
  await standAtB(rig);
  const counter = await rig.counter("b");
  await rig.site("b").kill();
  await waitFor("QEMU has noticed", async () => (await migrationAt(rig, "b")) === "failed" || null);
  await rig.untilAlive("b");
  await rig.testbed.restartSite("b");
  t.match(await trackingAt(rig, "b"), { mode: "scan" });
  const folders = await rig.generationFolders("b");
  t.strictSame(folders, ["1"], "what was kept for the leg is gone");
  await checkAftermath(t, rig, "b", counter);
});

t.test("an agent that ends in order ends the standing migration, too", async (t) => {
  const rig = await Rig.boot(t, standing);
  await standAtB(rig);
  await rig.site("b").stop();
  t.equal(await migrationAt(rig, "b"), "cancelled");
  t.strictSame(await rig.generationFolders("b"), ["1"], "nothing is left in the store");
  await rig.untilAlive("b");
  await rig.testbed.restartSite("b");
});

t.test("it is given up for what it is in the way of, and made again", async (t) => {
  const rig = await Rig.boot(t, standing);
  await standAtB(rig);
  await rig.site("b").ask("prune", { vm: guestName, keep: 1 });
  t.match(await trackingAt(rig, "b"), { mode: "scan", why: /given up/ });
  await untilStanding(rig, "b");
  await rig.untilAlive("b");
});

t.test("a VM that an operator has paused stays so when the standing migration is given up", async (t) => {
  const rig = await Rig.boot(t, standing);
  await standAtB(rig);
  const monitor = await rig.monitor("b");
  await monitor.execute("stop");
  await rig.site("b").ask("prune", { vm: guestName, keep: 1 });
  t.equal(await migrationAt(rig, "b"), "cancelled");
  t.equal((await monitor.execute<{ status: string }>("query-status")).status, "paused");
  await monitor.execute("cont");
  await rig.untilAlive("b");
});

t.test("a VM whose QEMU ends, or is ended, while it is held leaves nothing behind", async (t) => {
  const rig = await Rig.boot(t, standing);
  await standAtB(rig);
  await rig.site("b").ask("stop", { vm: guestName, force: true, timeoutMs: 1000 });
  t.match(await trackingAt(rig, "b"), { mode: "scan", why: /does not run here/ });
  await rig.site("b").ask("recover", { vm: guestName, generation: null, force: false });
  await rig.untilAlive("b");
  t.match(await untilStanding(rig, "b"), { generation: 1 }, "it stands on what it was restarted from");
  await rig.killQemu("b");
  await rig.idle("b");
  await waitFor("nothing is left", async () => (await rig.generationFolders("b")).join() === "1" || null);
});

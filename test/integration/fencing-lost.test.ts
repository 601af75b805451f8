import { existsSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import t from "tap";
import { guestName } from "../../cli/demo/testbed.ts";
import { endsAs } from "../store/operation-errors.ts";
import { DiskRig } from "./disk-rig.ts";
import { differentBlocks, writeContent } from "./disk-tools.ts";
import { branches, doctor, recover, setLinks, untilFenced } from "./fencing-rig.ts";
import { handoverToReleased } from "./handover.ts";
import { Rig } from "./rig.ts";
import { waitFor } from "./wait-for.ts";

const MIB = 1 << 20;
const oneDisk = [{ id: "disk0", lengthBytes: 64 * MIB }];

t.test("a host that was lost and comes back does not start the VM, and keeps its disks", async (t) => {
  const disks = await DiskRig.boot(t, oneDisk);
  const { rig } = disks;
  await disks.fill("a", "disk0", 2 * MIB, 300 * 1024);
  await rig.migrate("a", "b");
  await rig.untilAlive("b");
  await rig.migrate("b", "a");
  await rig.untilAlive("a");
  await Promise.all([rig.idle("a"), rig.idle("b")]);
  await disks.fill("a", "disk0", 5 * MIB, 200 * 1024);
  const twins = await disks.keepTwins();
  await rig.site("a").kill();
  await rig.killQemu("a");
  const forced = await recover(rig, "b", { force: true });
  t.match(forced["loss"], /make sure that a never runs demo again/);
  await rig.untilAlive("b");

  await rig.testbed.restartSite("a");
  const start = rig.site("a").ask("start", { vm: guestName });
  await t.rejects(start, {
    ...endsAs("refused"),
    message: /b has (taken it over \(epoch 5\); what was newer here is kept as branch 3-b|it)/,
  });
  t.match(await untilFenced(rig, "a"), {
    name: "3-b",
    memory: false,
    disks: ["disk0"],
    problem: /memory is lost/,
  });
  t.notOk(await rig.runsAt("a"));
  const store = await disks.store("a");
  const branch = await store.branches.find("3-b");
  const path = join(disks.folder, "branch.raw");
  await writeContent(store.images, branch?.record.disks[0]?.image ?? "", path);
  t.equal(
    await differentBlocks(path, twins.get("disk0") as string),
    "",
    "the disk is what the guest had made of it",
  );

  await t.test("a leg to that site leaves the branch as it is", async (t) => {
    await rig.migrate("b", "a");
    await rig.untilAlive("a");
    await rig.idle("a");
    await rig.site("a").ask("prune", { vm: guestName, keep: 1 });
    await writeContent(store.images, branch?.record.disks[0]?.image ?? "", path);
    t.equal(await differentBlocks(path, twins.get("disk0") as string), "");
    await rig.migrate("a", "b");
    await rig.untilAlive("b");
    await Promise.all([rig.idle("a"), rig.idle("b")]);
  });
  await t.test("the verifier finds nothing wrong", async (t) => {
    const { findings } = await rig.verifyStores(["a", "b"]);
    t.strictSame(findings, []);
    await Promise.all([rig.testbed.restartSite("a"), rig.testbed.restartSite("b")]);
    await rig.untilAlive("b");
  });
  await t.test("the disks can be had instead", async (t) => {
    const done = await recover(rig, "a", { branch: "3-b", force: true });
    t.match(done, { branch: "3-b", disksOnly: true, loss: /nor is what was in memory/ });
    await rig.onConsole("a", (guest) => guest.ready());
    await disks.restoreTwins(twins);
    t.strictSame(await disks.differences("a"), []);
    t.match(await untilFenced(rig, "b"), { memory: true, disks: ["disk0"] });
    t.strictSame(await branches(rig, "a"), [], "the VM writes to them: they are no branch any more");
    const { findings, vms } = await rig.verifyStores(["a", "b"]);
    t.strictSame(findings, [], "the verifier finds nothing wrong");
    t.match(
      vms.filter((vm) => vm.branch !== null),
      [{ generations: [{ restorable: true }] }],
    );
  });
});

t.test("an agent that dies while it keeps a branch goes on with it when it starts again", async (t) => {
  const rig = await Rig.boot(t);
  await rig.migrate("a", "b");
  await rig.untilAlive("b");
  await rig.migrate("b", "a");
  await rig.untilAlive("a");
  await Promise.all([rig.idle("a"), rig.idle("b")]);
  await setLinks(rig, true);
  await recover(rig, "b", { force: true });
  await rig.untilAlive("b");
  await rig.ticks("a", 20);
  const marker = join(rig.site("a").storePath, guestName, "fenced.json");
  await setLinks(rig, false);
  while (!existsSync(marker)) await sleep(1);
  rig.halt("a");
  t.ok(existsSync(marker), "it was in the middle");
  await waitFor("the VM at a stands still", async () => !(await rig.runsAt("a")) || null);
  const counter = await rig.counter("a");
  await rig.site("a").kill();
  t.ok(existsSync(marker));
  t.notOk(await rig.runsAt("a"), "its death does not let the VM run");
  await rig.testbed.restartSite("a");
  t.match(await untilFenced(rig, "a"), { name: "3-b", memory: true, problem: null });
  t.notOk(existsSync(marker));
  t.equal(rig.runs.overlaps().length, 1, "the copy at a has not run again");
  await recover(rig, "a", { branch: "3-b", force: true });
  await rig.untilAlive("a");
  t.ok((await rig.counter("a")) >= counter, "nothing of it is lost");
  await untilFenced(rig, "b");
  const { findings } = await rig.verifyStores(["a", "b"]);
  t.strictSame(findings, [], "the verifier finds nothing wrong");
});

t.test(
  "the doctor explains a handover in doubt, and a paused VM of a superseded site never runs again",
  async (t) => {
    const { rig, end } = await handoverToReleased(t);
    await setLinks(rig, true);
    t.equal((await end).error?.reason, "inDoubt");
    await rig.idle("a");
    const found = await doctor(rig, "a");
    t.match(found, { verdict: "in-doubt", code: 4, qemu: "paused", peers: [{ site: "b", says: null }] });
    t.match(
      found.ways.map(({ command }) => command),
      [null, "bfmig recover demo --force"],
    );
    await setLinks(rig, false);
    await waitFor("the doubt is over", async () => (await doctor(rig, "a")).verdict === "healthy" || null);
    t.strictSame(rig.runs.overlaps(), [], "never did two copies run");
  },
);

import t from "tap";
import { guestName } from "../../cli/demo/testbed.ts";
import { endsAs } from "../store/operation-errors.ts";
import { branches, doctor, recover, setLinks, untilFenced } from "./fencing-rig.ts";
import { counterIn, differences } from "./memory.ts";
import { Rig } from "./rig.ts";
import { waitFor } from "./wait-for.ts";

t.test("a copy that runs on where the VM was given up is stopped, and kept as a branch", async (t) => {
  const rig = await Rig.boot(t);
  await rig.migrate("a", "b");
  await rig.untilAlive("b");
  await rig.migrate("b", "a");
  await rig.untilAlive("a");
  await Promise.all([rig.idle("a"), rig.idle("b")]);
  t.match(await doctor(rig, "a"), { verdict: "healthy", code: 0 });
  t.match(await doctor(rig, "b"), { verdict: "elsewhere", code: 0, explanation: [/at a, which says so/] });

  await setLinks(rig, true);
  await rig.change("a", "rewrite", 1024, 1000);
  await rig.ticks("a", 20);
  await t.rejects(recover(rig, "b"), {
    ...endsAs("refused"),
    message: /a has it; a cannot be reached .*fence a .*--force; the .* since generation 2 are lost then/,
  });
  t.strictSame(rig.runs.overlaps(), [], "so far one copy ran");
  const forced = await recover(rig, "b", { force: true });
  t.match(forced["loss"], /since generation 2 are not in it; make sure that a never runs demo again/);
  await rig.untilAlive("b");
  await rig.ticks("a", 20);
  const counter = await rig.counter("a");
  t.equal(rig.runs.overlaps().length, 1, "two copies run now: the operator has forced it");

  await setLinks(rig, false);
  const branch = await untilFenced(rig, "a");
  t.match(branch, {
    name: "3-b",
    epoch: 3,
    generation: 2,
    memory: true,
    problem: null,
    by: { site: "b", epoch: 5 },
  });
  await waitFor("its QEMU is gone", async () => (await rig.qemuPid("a")) === null || null);
  t.ok(await rig.runsAt("b"), "the recovered copy runs on");
  t.equal(rig.runs.overlaps().length, 1, "the other one has not run again");
  t.match(rig.site("a").logTail, /b has taken demo over/, "and says so");
  const { verdict, code, explanation } = await doctor(rig, "a");
  t.match({ verdict, code }, { verdict: "forked", code: 6 });
  t.match(
    explanation.join("\n"),
    /Branch 3-b: .*with its memory.*generation 2[\s\S]*demo is at b, which says so/,
  );
  await t.rejects(rig.site("a").ask("start", { vm: guestName }), endsAs("refused"));

  await t.test("the branch can be had instead, and the VM moves on", async (t) => {
    await t.rejects(recover(rig, "a", { branch: "3-b" }), {
      ...endsAs("refused"),
      message: /b answers: it has the VM \(epoch 5\); .*VM at b is stopped \(fenced\)/,
    });
    const done = await recover(rig, "a", { branch: "3-b", force: true });
    t.match(done, { branch: "3-b", epoch: 7, disksOnly: false });
    await rig.untilAlive("a");
    const memory = await rig.stoppedDump("a");
    t.ok(counterIn(memory) >= counter, `goes on at ${counterIn(memory)}, not before ${counter}`);
    t.strictSame(rig.model.check(memory), [], "its memory is what it was at a");
    t.match(await untilFenced(rig, "b"), { name: "5-a", memory: true });
    t.notOk(await rig.runsAt("b"));
    await rig.site("a").ask("prunebranch", { vm: guestName, branch: "3-b" });
    t.strictSame(await branches(rig, "a"), []);
    await Promise.all([rig.idle("a"), rig.idle("b")]);
    const leg = await rig.comparedLeg("a", "b");
    t.equal(differences(leg.source, leg.destination), "", "the next leg works");
    await rig.untilAlive("b");
  });

  const { findings, vms } = await rig.verifyStores(["a", "b"]);
  t.strictSame(findings, [], "the verifier finds nothing wrong");
  t.match(
    vms.filter((vm) => vm.branch !== null),
    [{ branch: "5-a", generations: [{ intact: true, restorable: true }] }],
    "and has looked into the branch",
  );
});

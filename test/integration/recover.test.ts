import t from "tap";
import { guestName } from "../../cli/demo/testbed.ts";
import { endsAs } from "../store/operation-errors.ts";
import { untilFenced } from "./fencing-rig.ts";
import type { GuestModel } from "./guest-model.ts";
import { handoverToReleased } from "./handover.ts";
import { counterIn, differences } from "./memory.ts";
import { Rig } from "./rig.ts";

t.test("a lost VM is restarted from what is retained, newest or older", async (t) => {
  const rig = await Rig.boot(t, { keep: 10 });
  const retained = new Map<number, { readonly model: GuestModel; readonly counter: number }>();
  const route = ["a", "b", "a", "b"];
  for (const [leg, from] of route.slice(0, -1).entries()) {
    const to = route[leg + 1] as string;
    await rig.change(from, "rewrite", 1024 * (leg + 1), 1500);
    const { done, source } = await rig.comparedLeg(from, to);
    retained.set(done.generation, { model: rig.model.copy(), counter: counterIn(source) });
    await rig.untilAlive(to);
  }
  await rig.change("b", "zero", 1024, 2048);
  const recover = (site: string, generation: number | null, force: boolean) =>
    rig.site(site).ask("recover", { vm: guestName, generation, force });

  await t.rejects(recover("b", null, false), /runs here/, "a VM that runs is not recovered");
  await t.rejects(recover("b", null, true), /runs here/, "not even by force");
  await t.rejects(recover("a", null, false), endsAs("refused"), "another site has the VM: only by force");
  await t.rejects(rig.site("a").ask("start", { vm: guestName }), endsAs("refused"), "nor may it start");

  await rig.site("b").kill();
  await rig.killQemu("b");
  await t.rejects(
    recover("a", null, false),
    endsAs("refused"),
    "that the site is lost only the operator knows",
  );
  await t.rejects(recover("a", 99, true), /no generation 99/);

  for (const generation of [3, 1, 2]) {
    await t.test(`generation ${generation} by force`, async (t) => {
      const done = await recover("a", generation, generation === 3);
      t.equal(done["generation"], generation);
      t.equal(done["resumed"], false);
      await rig.untilAlive("a");
      const memory = await rig.stoppedDump("a");
      const { model, counter } = retained.get(generation)!;
      t.strictSame(model.check(memory), [], "memory is that of the generation, and went on from there");
      t.ok(counterIn(memory) >= counter, "the counter goes on from the generation's");
      await rig.killQemu("a");
    });
  }

  await t.test("the site that was given up comes back, and takes the VM again", async (t) => {
    await recover("a", 2, false);
    await rig.untilAlive("a");
    await rig.testbed.restartSite("b");
    t.equal(
      await untilFenced(rig, "b"),
      null,
      "it learns that it has lost the VM; nothing newer was left there",
    );
    t.ok(await rig.runsAt("a"), "the VM runs on at the other site");
    await rig.idle("a");
    const done = await rig.migrate("a", "b");
    t.ok(done.unwrittenPages > 4096, `${done.unwrittenPages} pages were not compared`);
    await rig.untilAlive("b");
  });

  t.strictSame(rig.runs.overlaps(), [], "never did two copies run");
  const { findings } = await rig.verifyStores(["a", "b"]);
  t.strictSame(findings, [], "the verifier finds nothing wrong");
});

t.test("an operator's word ends the doubt: the VM that was stopped in the handover goes on", async (t) => {
  const { rig, counter, end } = await handoverToReleased(t);
  await rig.testbed.link("a", "b").cut();
  t.equal((await end).error?.reason, "inDoubt");
  const recover = (force: boolean) =>
    rig.site("a").ask("recover", { vm: guestName, generation: null, force });
  await t.rejects(recover(false), endsAs("refused"));
  const done = await recover(true);
  t.equal(done["resumed"], true);
  await rig.untilAlive("a");
  const memory = await rig.stoppedDump("a");
  t.strictSame(rig.model.check(memory), [], "nothing is lost");
  t.ok(counterIn(memory) >= counter);
  await rig.testbed.link("a", "b").restore();
  await rig.idle("b");
  const leg = await rig.comparedLeg("a", "b");
  t.equal(differences(leg.source, leg.destination), "", "and the next leg works");
  await rig.untilAlive("b");
  t.strictSame(rig.runs.overlaps(), [], "never did two copies run");
});

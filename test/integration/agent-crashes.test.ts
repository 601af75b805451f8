import t from "tap";
import { checkAftermath, isUnderWay, slowBitsPerSecond } from "./aftermath.ts";
import { Rig } from "./rig.ts";

for (const victim of ["source", "destination"] as const) {
  for (const leg of ["first", "return"] as const) {
    t.test(`the ${victim}'s agent dies in the middle of a ${leg} leg`, async (t) => {
      const rig = await Rig.boot(t);
      let [from, to] = ["a", "b"];
      if (leg === "return") {
        await rig.migrate(from, to);
        await rig.untilAlive(to);
        [from, to] = [to, from];
        await rig.change(from, "rewrite", 1024, 7168);
      }
      const counter = await rig.counter(from);
      const dying = victim === "source" ? from : to;
      const { error } = await rig.begin(from, to, {
        bitsPerSecond: slowBitsPerSecond,
        onLine: (line) => isUnderWay(line) && rig.site(dying).kill(),
      });
      t.equal(error?.reason, victim === "source" ? "failed" : "aborted");
      await rig.untilAlive(from);
      await rig.testbed.restartSite(dying);
      await checkAftermath(t, rig, from, counter);
    });
  }
}

t.test("the link breaks in the middle of a leg", async (t) => {
  const rig = await Rig.boot(t);
  const counter = await rig.counter("a");
  let cutting: Promise<void> | null = null;
  const link = rig.testbed.link("a", "b");
  const { error } = await rig.begin("a", "b", {
    bitsPerSecond: slowBitsPerSecond,
    onLine: (line) => {
      if (isUnderWay(line)) cutting ??= link.cut();
    },
  });
  t.equal(error?.reason, "aborted");
  await cutting;
  await link.restore();
  await checkAftermath(t, rig, "a", counter);
});

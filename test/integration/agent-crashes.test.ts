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
      let hasDied = false;
      let dies: () => void = () => {};
      const dead = new Promise<void>((resolve) => {
        dies = resolve;
      });
      const end = rig.begin(from, to, {
        bitsPerSecond: slowBitsPerSecond,
        onLine: (line) => {
          if (hasDied || !isUnderWay(line)) return;
          hasDied = true;
          rig.site(dying).kill().then(dies);
        },
      });
      await dead;
      await rig.untilAlive(from);
      await rig.testbed.restartSite(dying);
      const { error } = await end;
      t.equal(error?.reason, victim === "source" ? "failed" : "aborted");
      if (victim === "destination") t.match(error?.message, /has lost the leg/);
      await checkAftermath(t, rig, from, counter);
    });
  }
}

import t from "tap";
import { guestName } from "../../cli/demo/testbed.ts";
import { differences } from "./memory.ts";
import { Rig } from "./rig.ts";
import { waitFor } from "./wait-for.ts";

const route = ["a", "b", "c", "a", "b", "a", "c", "b"];
/** The first visit of each site is a first leg; from then on every leg finds something to build on. */
const firstLegs = new Set(["a b", "b c"]);

t.test("a VM travels between three sites, and each leg to a site that had it is a return leg", async (t) => {
  const rig = await Rig.boot(t, { siteNames: ["a", "b", "c"] });
  let firstLegBytes = 0;
  const travelled = new Set<string>();
  for (const [leg, from] of route.slice(0, -1).entries()) {
    const to = route[leg + 1] as string;
    await t.test(`leg ${leg + 1}, ${from} to ${to}`, async (t) => {
      await rig.ticks(from, 40);
      await rig.change(from, "rewrite", 1024 + 100 * leg, 50);
      const { done, source, destination } = await rig.comparedLeg(from, to);
      t.equal(differences(source, destination), "", "no page differs between the sites");
      t.strictSame(rig.model.check(destination), [], "it is what the guest should have made");
      await rig.untilAlive(to);
      if (firstLegs.has(`${from} ${to}`) && !travelled.has(to)) {
        t.equal(done.leg, "first");
        firstLegBytes = done.wireBytes;
      } else {
        t.equal(done.leg, "return");
        t.ok(done.wireBytes < firstLegBytes / 3, `${done.wireBytes} bytes after ${firstLegBytes}`);
      }
      travelled.add(from).add(to);
      // What the third site holds is told in the background after a leg.
      await waitFor(`${to} knows what the others hold`, async () => {
        const { holders } = (await rig.site(to).ask("show", { vm: guestName })) as unknown as {
          holders: object;
        };
        return [...travelled].every((site) => site === to || site in holders) || null;
      });
    });
  }
  t.strictSame(rig.runs.overlaps(), [], "never did two copies run");
  const { findings } = await rig.verifyStores(["a", "b", "c"]);
  t.strictSame(findings, [], "the verifier finds nothing wrong");
});

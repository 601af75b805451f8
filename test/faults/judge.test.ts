import t from "tap";
import { judge, mayBeDown, type Observation } from "./judge.ts";
import type { Cell, Fault } from "./matrix.ts";
import { returnPlaces } from "./places.ts";

const good: Observation = {
  isReached: true,
  legEnd: "done",
  overlaps: [],
  running: 1,
  meanwhile: null,
  unsettled: null,
  unrecovered: null,
  damage: [],
  nextLeg: [],
};

function cell(fault: Fault, at: string): Cell {
  return { fault, place: returnPlaces.find(({ name }) => name === at)! };
}

const cut = cell("cut-1s", "source:rounds");

t.test("a cell in which all is well has no violation", async (t) => {
  t.strictSame(judge(cut, good), {
    legEnd: "done",
    line: {
      fault: "cut-1s",
      at: "source:rounds",
      running: 1,
      restartable: true,
      intact: true,
      nextLegOk: true,
    },
    violations: [],
  });
});

t.test("two copies are a violation, whenever they ran", async (t) => {
  const once = judge(cut, { ...good, overlaps: ["b began to run while a ran"] });
  t.equal(once.line.running, 2);
  t.match(once.violations, [/two copies ran/]);
  const atTheEnd = judge(cut, { ...good, running: 2 });
  t.equal(atTheEnd.line.running, 2);
  t.match(atTheEnd.violations, [/2 copies run/]);
  t.equal(judge(cell("cut-forever", "source:released"), { ...good, meanwhile: 2 }).line.running, 2);
});

t.test("a VM that stands still is a violation unless the fault took its only copy", async (t) => {
  const down = { ...good, running: 0 };
  t.match(judge(cut, down).violations, [/does not run any more/]);
  t.match(judge(cell("kill-source-agent", "source:rounds"), down).violations, [/does not run any more/]);
  t.strictSame(judge(cell("kill-source-qemu", "source:rounds"), down).violations, []);
  t.match(judge(cell("kill-source-qemu", "source:released"), down).violations, [/does not run any more/]);
  t.match(judge(cell("kill-destination-qemu", "destination:prepared"), down).violations, [/does not run/]);
  t.strictSame(judge(cell("kill-destination-qemu", "destination:running"), down).violations, []);
  t.equal(judge(cell("kill-destination-qemu", "destination:running"), down).line.running, 0);
});

t.test("while a fault lasts the VM may stand still only if its owner is in doubt", async (t) => {
  const still = { ...good, meanwhile: 0 };
  t.match(judge(cell("cut-forever", "source:rounds"), still).violations, [/while the fault lasts/]);
  t.strictSame(judge(cell("cut-forever", "source:released"), { ...still, legEnd: "inDoubt" }).violations, []);
});

t.test("the VM must be restartable wherever it stands still", async (t) => {
  const { line, violations } = judge(cell("kill-source-qemu", "source:rounds"), {
    ...good,
    running: 0,
    unrecovered: "no generation is retained",
  });
  t.equal(line.restartable, false);
  t.match(violations, [/cannot be restarted: no generation/]);
});

t.test("damage, a next leg that fails and sites that do not agree are violations", async (t) => {
  const damaged = judge(cut, { ...good, damage: ["page 300 is not as of tick 0"] });
  t.match([damaged.line, damaged.violations], [{ intact: false, nextLegOk: true }, [/page 300/]]);
  const stuck = judge(cut, { ...good, nextLeg: ["it was refused"] });
  t.match([stuck.line, stuck.violations], [{ intact: true, nextLegOk: false }, [/next leg: it was refused/]]);
  const unsettled = judge(cut, { ...good, unsettled: "a says released" });
  t.match(unsettled.line, { restartable: false, intact: false, nextLegOk: false });
  t.match(unsettled.violations, [/do not agree: a says released/]);
});

t.test("a leg must outlive a cut that ends while the VM runs, and no other fault", async (t) => {
  const aborted = { ...good, legEnd: "aborted" };
  t.match(judge(cut, aborted).violations, [/did not outlive the cut/]);
  t.strictSame(judge(cell("cut-forever", "source:rounds"), aborted).violations, []);
  t.strictSame(judge(cell("cut-1s", "source:finishing"), aborted).violations, []);
  t.strictSame(judge(cell("kill-destination-agent", "source:rounds"), aborted).violations, []);
});

t.test("a cell whose fault never met the leg proves nothing", async (t) => {
  const { line, violations } = judge(cut, { ...good, isReached: false });
  t.match(line, { restartable: false, intact: false, nextLegOk: false });
  t.match(violations, [/never came to source:rounds/]);
});

t.test("only the death of a QEMU may take the VM down", async (t) => {
  for (const place of returnPlaces) {
    for (const fault of [
      "kill-source-agent",
      "cut-forever",
      "disk-full-source",
      "stop-source-20s",
    ] as const) {
      t.equal(mayBeDown(fault, place), false, `${fault} at ${place.name}`);
    }
  }
});

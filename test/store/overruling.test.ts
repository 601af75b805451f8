import fc from "fast-check";
import t from "tap";
import { type Claimed, learned, overrules } from "../../cli/store/overruling.ts";
import type { OwnershipRecord } from "../../cli/store/ownership.ts";

const states = ["none", "owned", "released", "away"] as const;
const record = (state: OwnershipRecord["state"], epoch: number, peer = "b"): OwnershipRecord => {
  return { format: 1, vm: "web1", state, epoch, generation: 1, peer, refusedEpoch: 0 };
};
const claim = (site: string, state: Claimed["state"], epoch: number): Claimed => ({ site, state, epoch });

t.test("a newer epoch overrules, whether its site still has the VM or not", async (t) => {
  for (const state of ["owned", "released", "away"] as const) {
    t.ok(overrules(claim("b", state, 5), record("owned", 3), "a"), state);
    t.notOk(overrules(claim("b", state, 2), record("owned", 3), "a"), `older: ${state}`);
  }
  t.notOk(overrules(claim("b", "none", 5), record("owned", 3), "a"), "a site that never had it says nothing");
});

t.test("an epoch that nothing could follow counts for nothing", async (t) => {
  t.notOk(overrules(claim("b", "owned", Number.MAX_SAFE_INTEGER), record("owned", 3), "a"));
  t.equal(learned(claim("b", "owned", Number.MAX_SAFE_INTEGER), record("away", 3)), null);
});

t.test("a site that does not own a VM is not overruled", async (t) => {
  for (const state of ["none", "released", "away"] as const) {
    t.notOk(overrules(claim("b", "owned", 9), record(state, 3), "a"), state);
  }
});

t.test("of two forced recoveries with one epoch exactly one wins, the same one at both sites", async (t) => {
  t.ok(overrules(claim("b", "owned", 4), record("owned", 4), "a"));
  t.notOk(overrules(claim("a", "owned", 4), record("owned", 4), "b"));
  t.notOk(overrules(claim("b", "away", 4), record("owned", 4), "a"), "one that has it not is no rival");
});

t.test("two VMs that were started under one name stop each other not", async (t) => {
  t.notOk(overrules(claim("b", "owned", 1), record("owned", 1), "a"));
});

t.test("among any sites that own a VM, all but one are overruled", async () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.constantFrom("a", "b", "c", "d"), { minLength: 2 }),
      fc.infiniteStream(fc.integer({ min: 2, max: 4 })),
      (sites, epochs) => {
        const owners = sites.map((site) => ({ site, epoch: epochs.next().value as number }));
        const left = owners.filter(
          (own) =>
            !owners.some(
              (other) =>
                other !== own &&
                overrules(claim(other.site, "owned", other.epoch), record("owned", own.epoch), own.site),
            ),
        );
        return left.length === 1;
      },
    ),
  );
});

t.test("a handover in order overrules nobody who may still run the VM", async (t) => {
  // What each side may have recorded while the VM goes from a, epoch e, to b.
  const e = 6;
  for (const atA of [record("owned", e), record("released", e + 1), record("away", e + 1)]) {
    const isReleased = atA.state !== "owned";
    for (const atB of [record("away", e - 1, "a"), ...(isReleased ? [record("owned", e + 1, "a")] : [])]) {
      t.notOk(overrules(claim("a", atA.state, atA.epoch), atB, "b"), `a ${atA.state}, b ${atB.state}`);
      t.notOk(overrules(claim("b", atB.state, atB.epoch), atA, "a"), `b ${atB.state}, a ${atA.state}`);
    }
  }
});

t.test("a site without the VM learns who has it, and never from a handover in doubt", async (t) => {
  t.match(learned(claim("c", "owned", 7), record("away", 4)), {
    epoch: 7,
    peer: "c",
    state: "away",
    generation: 1,
  });
  t.match(learned(claim("c", "away", 7), record("away", 4)), { epoch: 7, peer: "b" }, "the epoch at least");
  t.equal(learned(claim("c", "released", 7), record("away", 4)), null);
  t.equal(learned(claim("c", "owned", 4), record("away", 4)), null, "no news");
  for (const state of states) {
    if (state !== "away") t.equal(learned(claim("c", "owned", 7), record(state, 4)), null, state);
  }
});

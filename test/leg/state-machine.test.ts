import t from "tap";
import {
  destinationTransitions,
  keeperTransitions,
  keepTransitions,
  type SourceState,
  StateMachine,
  sourceTransitions,
  type TransitionTable,
} from "../../cli/leg/state-machine.ts";

/** All states that can follow `from`, at any distance. */
function reachable<State extends string>(table: TransitionTable<State>, from: State): Set<State> {
  const found = new Set<State>();
  const visit = (state: State) => {
    for (const next of table[state]) {
      if (found.has(next)) continue;
      found.add(next);
      visit(next);
    }
  };
  visit(from);
  return found;
}

t.test("after RELEASED a source never aborts by itself", async (t) => {
  for (const state of ["released", "in-doubt", "handed-over", "taken-back"] as const) {
    t.notOk(reachable(sourceTransitions, state).has("aborted"), state);
  }
});

t.test("before RELEASED a source can always abort", async (t) => {
  for (const state of ["negotiating", "rounds", "stopped", "finishing", "completing"] as const) {
    t.ok(sourceTransitions[state].includes("aborted"), state);
  }
});

t.test("RELEASED comes only from completing, when QEMU is in postmigrate", async (t) => {
  const before = (Object.keys(sourceTransitions) as SourceState[]).filter((state) =>
    sourceTransitions[state].includes("released"),
  );
  t.strictSame(before, ["completing"]);
});

t.test("a destination runs only from owned, and comes to own only from prepared", async (t) => {
  const leadingTo = (target: string) =>
    Object.entries(destinationTransitions)
      .filter(([, next]) => (next as readonly string[]).includes(target))
      .map(([state]) => state);
  t.strictSame(leadingTo("running"), ["owned"]);
  t.strictSame(leadingTo("owned"), ["prepared"]);
  t.notOk(reachable(destinationTransitions, "owned").has("discarded"), "what it owns it does not discard");
});

t.test("every state can be reached, and no state leads back", async (t) => {
  const check = <State extends string>(table: TransitionTable<State>, first: State) => {
    t.equal(reachable(table, first).size, Object.keys(table).length - 1);
    for (const state of Object.keys(table) as State[]) t.notOk(reachable(table, state).has(state), state);
  };
  check(sourceTransitions, "negotiating");
  check(destinationTransitions, "offered");
  check(keepTransitions, "negotiating");
  check(keeperTransitions, "offered");
});

t.test("a checkpoint can fail at each step but its last, and has no state of a handover", async (t) => {
  for (const [state, next] of Object.entries(keepTransitions)) {
    t.equal((next as string[]).includes("aborted"), state !== "kept" && state !== "aborted", state);
  }
  for (const state of ["released", "in-doubt", "completing", "owned", "running"]) {
    t.notOk(state in keepTransitions || state in keeperTransitions, state);
  }
});

t.test("a machine goes where its table allows and nowhere else", async (t) => {
  const seen: string[] = [];
  const machine = new StateMachine(destinationTransitions, "offered", (state) => seen.push(state));
  machine.go("receiving");
  t.throws(() => machine.go("running"), /from state 'receiving' to 'running'/);
  t.throws(() => machine.go("receiving"));
  t.equal(machine.state, "receiving");
  machine.go("discarded");
  t.strictSame(seen, ["receiving", "discarded"]);
});

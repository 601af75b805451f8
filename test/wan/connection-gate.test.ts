import t from "tap";
import {
  ConnectionGate,
  firstWaitMs,
  freeFailures,
  lastWaitMs,
  maxConnectionsPerPeer,
  maxUnproven,
  maxUnprovenPerAddress,
  type Visitor,
} from "../../cli/wan/connection-gate.ts";

/** A gate with a clock that the test moves. */
function gateAt(): { gate: ConnectionGate; clock: { ms: number }; enter: (address: string) => Visitor } {
  const clock = { ms: 1000 };
  const gate = new ConnectionGate(() => clock.ms);
  const enter = (address: string) => {
    const visitor = gate.enter(address);
    if (typeof visitor === "string") throw new Error(visitor);
    return visitor;
  };
  return { gate, clock, enter };
}

function failFrom(enter: (address: string) => Visitor, address: string): boolean {
  const visitor = enter(address);
  const isDropped = visitor.failed();
  visitor.left();
  return isDropped;
}

t.test("one address has a share of the connections that have proven nothing", async (t) => {
  const { gate, enter } = gateAt();
  const visitors = Array.from({ length: maxUnprovenPerAddress }, () => enter("192.0.2.1"));
  t.match(gate.enter("192.0.2.1"), /from its address/);
  t.match(gate.enter("::ffff:192.0.2.1"), /from its address/, "the same address in IPv6");
  enter("192.0.2.2");
  visitors[0].left();
  enter("192.0.2.1");
  visitors[1].proven("b");
  enter("192.0.2.1");
});

t.test("a network of IPv6 that one host has counts as one address", async (t) => {
  const { gate, enter } = gateAt();
  for (let i = 0; i < maxUnprovenPerAddress; i++) enter(`2001:db8:1:2::${i.toString(16)}`);
  t.type(gate.enter("2001:db8:1:2:ffff:1:2:3"), "string");
  t.type(gate.enter("2001:db8:1:3::1"), "object");
  t.type(gate.enter("::1"), "object");
});

t.test("all addresses together have a limit too", async (t) => {
  const { gate, enter } = gateAt();
  const visitors = Array.from({ length: maxUnproven }, (_, i) => enter(`192.0.2.${i}`));
  t.match(gate.enter("198.51.100.1"), /too many connections/);
  visitors[0].proven("b");
  enter("198.51.100.1");
});

t.test("a peer has a limit of its own, and gives back what it leaves", async (t) => {
  const { enter } = gateAt();
  const visitors = Array.from({ length: maxConnectionsPerPeer }, () => {
    const visitor = enter("192.0.2.1");
    t.ok(visitor.proven("b"));
    return visitor;
  });
  const oneMore = enter("192.0.2.1");
  t.notOk(oneMore.proven("b"));
  oneMore.left();
  t.ok(enter("192.0.2.1").proven("c"), "another peer is not touched");
  visitors[0].left();
  t.ok(enter("192.0.2.1").proven("b"));
});

t.test("who fails again and again is dropped, for twice as long each time, and others are not", async (t) => {
  const { gate, clock, enter } = gateAt();
  for (let i = 0; i < freeFailures; i++) t.notOk(failFrom(enter, "192.0.2.1"));
  let waitMs = firstWaitMs;
  for (let i = 0; i < 10; i++) {
    t.ok(failFrom(enter, "192.0.2.1"));
    clock.ms += waitMs - 1;
    t.match(gate.enter("192.0.2.1"), /failed too often/, `still after ${waitMs - 1} ms`);
    enter("192.0.2.2").left();
    clock.ms += 1;
    waitMs = Math.min(2 * waitMs, lastWaitMs);
  }
  t.equal(waitMs, lastWaitMs);
  const visitor = enter("192.0.2.1");
  t.ok(visitor.proven("b"));
  t.notOk(failFrom(enter, "192.0.2.1"), "success makes it begin anew");
});

t.test("failures of long ago are forgotten", async (t) => {
  const { clock, enter } = gateAt();
  for (let i = 0; i < freeFailures; i++) failFrom(enter, "192.0.2.1");
  clock.ms += 3600_000;
  t.notOk(failFrom(enter, "192.0.2.1"));
});

t.test("however many addresses fail, few are remembered: those that failed last", async (t) => {
  const { gate, enter } = gateAt();
  const fail = (address: string) => {
    for (let i = 0; i <= freeFailures; i++) failFrom(enter, address);
  };
  fail("192.0.2.1");
  for (let i = 0; i < 2000; i++) failFrom(enter, `10.0.${i >> 8}.${i & 255}`);
  fail("192.0.2.2");
  t.type(gate.enter("192.0.2.1"), "object");
  t.type(gate.enter("192.0.2.2"), "string");
});

/** Legs that are striped over several connections, and what happens when one of them is lost. */

import t from "tap";
import type { ControlLine } from "../../cli/control-client.ts";
import { checkAftermath, slowBitsPerSecond } from "./aftermath.ts";
import { differences } from "./memory.ts";
import { Rig } from "./rig.ts";
import { waitFor } from "./wait-for.ts";

const streams = 4;

/** The link's connections that have carried more than a handshake, the oldest first. */
async function busyConnections(rig: Rig): Promise<number[]> {
  const connections = await rig.testbed.link("a", "b").connections();
  return connections.filter(({ aToB }) => aToB > 300_000).map(({ id }) => id);
}

/** Calls `action` once, as soon as all connections of the leg carry frames. */
function whenStriped(rig: Rig, action: (ids: number[]) => Promise<void>) {
  let done: Promise<void> | null = null;
  const watch = async () => {
    const ids = await waitFor("all connections carry frames", async () => {
      const busy = await busyConnections(rig);
      return busy.length >= streams ? busy : null;
    });
    await action(ids);
  };
  return {
    onLine: (line: ControlLine) => {
      if (line["state"] === "rounds") done ??= watch();
    },
    done: async () => await (done ?? Promise.reject(new Error("the leg has never begun"))),
  };
}

t.test("a leg over four connections brings memory byte for byte, there and back", async (t) => {
  const rig = await Rig.boot(t, { rateBitsPerSecond: 100e6 });
  const striped = whenStriped(rig, async (ids) => {
    t.equal(ids.length, streams, "all of them carry frames");
  });
  const first = await rig.comparedLeg("a", "b", { streams, onLine: striped.onLine });
  await striped.done();
  t.equal(first.done.leg, "first");
  t.equal(differences(first.source, first.destination), "", "no page differs between the sites");
  t.strictSame(rig.model.check(first.destination), [], "it is what the guest should have made");
  const { aToB, bToA } = await rig.testbed.link("a", "b").stats();
  t.ok(first.done.wireBytes > 0.9 * (aToB + bToA), "what all of them carried is counted");
  t.ok(first.done.wireBytes <= aToB + bToA, `${first.done.wireBytes} of ${aToB + bToA} bytes`);
  await rig.untilAlive("b");
  const back = await rig.comparedLeg("b", "a", { streams: 16 });
  t.equal(back.done.leg, "return");
  t.equal(differences(back.source, back.destination), "", "no page differs after the way back");
  await checkAftermath(t, rig, "a", 0);
});

t.test("a leg goes on over the others when one of its connections is lost, and dials it again", async (t) => {
  const rig = await Rig.boot(t, { rateBitsPerSecond: slowBitsPerSecond });
  const striped = whenStriped(rig, async (ids) => {
    const lost = ids[2] as number;
    await rig.testbed.link("a", "b").reset(lost);
    await waitFor("it was dialled again and carries frames", async () => {
      const busy = await busyConnections(rig);
      return (busy.length >= streams && !busy.includes(lost)) || null;
    });
  });
  const { done, source, destination } = await rig.comparedLeg("a", "b", { streams, onLine: striped.onLine });
  await striped.done();
  t.equal(done.reconnects, 0, "the leg's link was never lost");
  t.match(rig.site("a").logTail, /goes over the other connections/);
  t.equal(differences(source, destination), "", "no page differs between the sites");
  t.strictSame(rig.model.check(destination), [], "it is what the guest should have made");
  await checkAftermath(t, rig, "b", 0);
});

t.test("a leg goes on after its main connection was lost, with all the others", async (t) => {
  const rig = await Rig.boot(t, { rateBitsPerSecond: slowBitsPerSecond });
  const striped = whenStriped(rig, async (ids) => {
    await rig.testbed.link("a", "b").reset(ids[0] as number);
    await waitFor("all have been made anew and carry frames", async () => {
      const busy = await busyConnections(rig);
      return (busy.length >= streams && !busy.some((id) => ids.includes(id))) || null;
    });
  });
  const { done, source, destination } = await rig.comparedLeg("a", "b", { streams, onLine: striped.onLine });
  await striped.done();
  t.equal(done.reconnects, 1);
  t.equal(differences(source, destination), "", "no page differs between the sites");
  t.strictSame(rig.model.check(destination), [], "it is what the guest should have made");
  await checkAftermath(t, rig, "b", 0);
});

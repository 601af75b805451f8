import t, { type Test } from "tap";
import { OperationError } from "../../cli/errors.ts";
import { DestinationLeg } from "../../cli/leg/destination-leg.ts";
import { FileOwnershipRegister } from "../../cli/store/ownership.ts";
import { VmStore } from "../../cli/store/vm-store.ts";
import { loadCore } from "../../src/core.ts";
import { connectionPair } from "../wan/connection-pair.ts";

const legId = "0b1f8c64-6d0d-4b57-9d59-0a4f4b1f6a11";
const over = new OperationError("failed", "The leg is over");

async function offeredLeg(t: Test) {
  const folder = t.testdir();
  const { a: source, b: connection } = await connectionPair(t);
  const states: string[] = [];
  const never = () => Promise.reject(new Error("this leg never comes so far"));
  const leg = new DestinationLeg({
    site: "b",
    connection,
    prepare: {
      type: "prepare",
      purpose: "handover",
      leg: legId,
      vm: {
        name: "vm",
        machine: "pc-i440fx-7.2",
        cpu: "qemu64",
        memoryBytes: 1 << 20,
        accelerator: "tcg",
        disks: [],
      },
      ramBlock: "pc.ram",
      epoch: 2,
      key: "00".repeat(32),
      linkTimeoutMs: 3_600_000,
      streams: 1,
    },
    store: new VmStore(await loadCore(), folder, "vm"),
    ownership: new FileOwnershipRegister(folder),
    key: new Uint8Array(32),
    runPath: folder,
    disks: [],
    startBlockHost: never,
    launch: never,
    exclusively: (action) => action(),
    onState: (state) => states.push(state),
    warn: () => {},
  });
  return { leg, source, states };
}

t.test("a leg that is cancelled before it was offered ends", async (t) => {
  const { leg, states } = await offeredLeg(t);
  const running = leg.run();
  leg.cancel(over);
  await t.rejects(running, over);
  t.strictSame(states, ["discarded"]);
});

t.test("a leg whose source does not know it ends when the link is lost, and not before", async (t) => {
  const { leg, source } = await offeredLeg(t);
  let isOver = false;
  const running = leg.run().finally(() => {
    isOver = true;
  });
  running.catch(() => {});
  await source.expect("offer", 10_000);
  // What a source says may be older than the leg.
  leg.deny(over);
  source.send({ type: "finish", root: "00".repeat(32), sequence: 2, ageMs: 0 });
  t.match(await source.expect("abort", 10_000), { message: /'finish' came in state 'offered'/ });
  await t.rejects(running, /'finish' came in state 'offered'/);
  t.ok(isOver);

  const other = await offeredLeg(t);
  const waiting = other.leg.run();
  waiting.catch(() => {});
  await other.source.expect("offer", 10_000);
  other.leg.deny(over);
  other.source.close();
  await t.rejects(waiting, over);
});

t.test("a leg whose source was heard before the leg began, and is gone, ends at once", async (t) => {
  const { leg, source } = await offeredLeg(t);
  leg.deny(over);
  const running = leg.run();
  running.catch(() => {});
  await source.expect("offer", 10_000);
  source.close();
  await t.rejects(running, over);
});

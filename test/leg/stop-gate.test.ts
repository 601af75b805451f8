import t from "tap";
import type { SourcePump } from "../../cli/leg/source-pump.ts";
import { StopGate } from "../../cli/leg/stop-gate.ts";
import type { OutgoingMigration } from "../../cli/qemu/outgoing-migration.ts";

const full = 2 ** 40;

/** A gate before a QEMU that only notes what it is told. */
function gate() {
  const told: string[] = [];
  const outgoing = {
    setDowntimeLimit: async (ms: number) => told.push(`limit ${ms}`),
    setMaxBandwidth: async (bytesPerSecond: number) => told.push(`rate ${bytesPerSecond}`),
  } as unknown as OutgoingMigration;
  const pump = {
    drainQueue: (isDraining: boolean) => told.push(isDraining ? "read all" : "read by the window"),
  } as unknown as SourcePump;
  return { told, gate: new StopGate(outgoing, pump, full) };
}

t.test("QEMU is told once that it may stop, and once that it may not", async (t) => {
  const { gate: tested, told } = gate();
  await tested.setOpen(false);
  t.strictSame(told, [], "that it may not is how it begins");
  await tested.setOpen(true);
  await tested.setOpen(true);
  await tested.setOpen(false);
  t.strictSame(told, ["limit 2000000", "limit 1"]);
});

t.test("while the queue is drained QEMU sends little, and all of it is read", async (t) => {
  const { gate: tested, told } = gate();
  t.notOk(tested.isDraining);
  await tested.drain(100, 32_000_000, 5000);
  t.ok(tested.isDraining);
  t.strictSame(
    told,
    ["read all", "rate 1000000"],
    "reading first: what held the stream before sets a rate of its own",
  );
  await tested.setOpen(true);
  await tested.endDrain();
  t.notOk(tested.isDraining);
  t.strictSame(told.slice(2), ["limit 2000000", "limit 1", `rate ${full}`, "read by the window"]);
});

t.test("over a slow link QEMU still sends a page each time that it looks", async (t) => {
  const { gate: tested, told } = gate();
  await tested.drain(100, 10_000, 0);
  t.equal(told[1], "rate 40960");
});

t.test("it is late when draining took clearly longer than the queue was", async (t) => {
  const { gate: tested } = gate();
  t.notOk(tested.isLate(1e9));
  await tested.drain(200, 1e6, 5000);
  t.notOk(tested.isLate(5200));
  t.ok(tested.isLate(5800));
  await tested.endDrain();
  t.notOk(tested.isLate(9000));
});

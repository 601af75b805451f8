import t from "tap";
import type { OutgoingMigration } from "../../cli/qemu/outgoing-migration.ts";
import { SafeHold } from "../../cli/qemu/safe-hold.ts";

const full = 2 ** 40;

/** Records what a hold does to its migration. */
function recorder() {
  const calls: string[] = [];
  const outgoing = {
    pause: () => calls.push("pause"),
    resume: () => calls.push("resume"),
    setMaxBandwidth: async (bytesPerSecond: number) => {
      calls.push(bytesPerSecond === full ? "full" : "little");
    },
  } as unknown as OutgoingMigration;
  const hold = new SafeHold(outgoing, full, (error) => calls.push(String(error)));
  return { calls, hold };
}

t.test("a short hold only stops reading", async (t) => {
  const { calls, hold } = recorder();
  hold.hold();
  hold.hold();
  hold.release();
  hold.release();
  t.strictSame(calls, ["pause", "resume"]);
});

t.test("a long hold lets QEMU send a little, reads it, and stops again", async (t) => {
  const { calls, hold } = recorder();
  const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
  hold.hold();
  while (calls.length < 4) await wait(20);
  t.strictSame(calls, ["pause", "little", "resume", "pause"]);
  hold.release();
  t.strictSame(calls.slice(4), ["resume", "full"], "QEMU's own limit is lifted again");
});

t.test("a hold that is meant to last is made at once, and told when it is complete", async (t) => {
  const { calls, hold } = recorder();
  await new Promise<void>((resolve) => hold.settle(resolve));
  t.strictSame(calls, ["pause", "little", "resume", "pause"]);
  t.ok(hold.isSlow);
  hold.settle(() => t.fail("it is settled already"));
  hold.release();
  t.strictSame(calls.slice(4), ["resume", "full"]);
  t.notOk(hold.isSlow);
});

t.test("after its end it never touches the migration again", async (t) => {
  const { calls, hold } = recorder();
  hold.hold();
  hold.stop();
  hold.hold();
  await new Promise((resolve) => setTimeout(resolve, 1200));
  t.strictSame(calls, ["pause", "resume"], "no limit comes late, upon the next migration");
});

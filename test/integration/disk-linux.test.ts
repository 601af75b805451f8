import t, { type Test } from "tap";
import { IDENTICAL, LinuxRig } from "./disk-linux.ts";
import { guestFileSum } from "./linux-guest-content.ts";
import { checkExt4, readExt4File, sumExt4File } from "./linux-guest-ext4.ts";
import { waitFor } from "./wait-for.ts";

t.test("a Linux guest that writes to its disk goes from site to site and back", async (t) => {
  const linux = await LinuxRig.boot(t);
  const { rig, guest } = linux;
  const files = new Map([
    ["a", { kib: 40_000, seed: 7 }],
    ["b", { kib: 20_000, seed: 8 }],
  ]);
  const bootId = await guest.command("boot");
  for (const [name, { kib, seed }] of files) await guest.command(`write ${name} ${kib} ${seed}`);
  await guest.command("load 3000 4096");

  let ticks = 0;
  let counter = 0;
  let firstWireBytes = 0;
  const isRight = async (t: Test) => {
    t.equal(await guest.command("boot"), bootId, "it is the same guest");
    t.equal(Number(await guest.command("tick")), ++ticks, "it has gone on from where it was");
    const before = counter;
    // The guest itself looks for gaps.
    counter = await waitFor("the load goes on", async () => {
      const counted = Number(await guest.command("count"));
      return counted > before ? counted : null;
    });
    for (const [name, { kib, seed }] of files) {
      t.equal(
        await guest.command(`sum ${name}`),
        guestFileSum(kib, seed),
        `file ${name} is what was written`,
      );
    }
  };
  await isRight(t);
  const legs = [
    { from: "a", to: "b", loses: false },
    { from: "b", to: "a", loses: false },
    { from: "a", to: "b", loses: false },
    { from: "b", to: "a", loses: true },
  ];
  for (const [i, { from, to, loses }] of legs.entries()) {
    await t.test(`from ${from} to ${to}${loses ? ", its bitmap lost" : ""}`, async (t) => {
      const name = `between-${i}`;
      files.set(name, { kib: 500, seed: 100 + i });
      await guest.command(`write ${name} 500 ${100 + i}`);
      if (i === 2) {
        await guest.command("delete a");
        await guest.command("trim");
        files.delete("a");
      }
      if (loses) await linux.loseBitmap(from);
      const { done, memory, disk } = await linux.leg(from, to);
      t.comment(
        `${done.totalMs} ms, disk ${done.diskBytes} bytes as ${done.diskWireBytes}, all ${done.wireBytes}, ${done.rounds} rounds`,
      );
      t.equal(disk, IDENTICAL, "the sites have the same disk at the switchover");
      t.equal(memory, "", "and the same memory");
      t.equal(done.leg, i === 0 ? "first" : "return");
      const isWarned = rig.site(from).logTail.includes("cannot be trusted");
      t.equal(isWarned, loses, "a lost bitmap is told of, and only that");
      if (i === 0) firstWireBytes = done.diskWireBytes;
      await isRight(t);
    });
  }

  t.equal(Number(await guest.command("unload")), Number(await guest.command("count")));
  const loadSum = await guest.command("sum load");
  const { done, disk } = await linux.leg("a", "b");
  t.equal(disk, IDENTICAL, "the same disk, now that the guest rests");
  const { diskWireBytes } = done;
  t.ok(diskWireBytes < firstWireBytes / 4, `a leg is cheap then: ${diskWireBytes} after ${firstWireBytes}`);
  const raw = await linux.shutDown(t, "b");
  await checkExt4(raw);
  for (const [name, { kib, seed }] of files) {
    t.equal(await sumExt4File(raw, name), guestFileSum(kib, seed), `the host reads file ${name} alike`);
  }
  t.equal(await sumExt4File(raw, "load"), loadSum);
  await t.rejects(readExt4File(raw, "a"), { message: /not found/i });
  t.match((await readExt4File(raw, "journal")).toString(), /^1\n2\n3\n/);
  t.strictSame(rig.runs.overlaps(), [], "never did two copies run");
  const { findings } = await rig.verifyStores(["a", "b"]);
  t.strictSame(findings, [], "the verifier finds nothing wrong");
});

t.test("a Linux guest that writes 5 MB/s to its disk comes over a link of 100 Mbit/s", async (t) => {
  const linux = await LinuxRig.boot(t, { rateBitsPerSecond: 100e6 });
  const { rig, guest } = linux;
  await guest.command("load 5000 16384");
  const { done, memory, disk } = await linux.leg("a", "b");
  t.comment(
    `${done.totalMs} ms, downtime ${done.downtimeMs} ms, disk ${done.diskBytes} bytes, ${done.rounds} rounds`,
  );
  t.equal(disk, IDENTICAL, "the sites have the same disk at the switchover");
  t.equal(memory, "", "and the same memory");
  t.ok(Number(await guest.command("unload")) > 0, "the load went on");
  await guest.command("count");
  await checkExt4(await linux.shutDown(t, "b"));
  t.strictSame(rig.runs.overlaps(), [], "never did two copies run");
});

/** Disks that move: what a disk contains is equal block for block at each switchover, and return legs are small. */

import t from "tap";
import { DiskRig } from "./disk-rig.ts";

const route = ["a", "b", "a", "b", "a"];
const MIB = 1 << 20;

t.test("two disks are equal block for block at each switchover of a journey there and back", async (t) => {
  const disks = await DiskRig.boot(t, [
    {
      id: "disk0",
      // No multiple of 64 KiB, nor of 4 KiB.
      lengthBytes: 96 * MIB + 41 * 512,
      kind: "template",
      initial: [
        "write -P 17 0 20M",
        "write -P 9 40M 3M",
        "write -P 5 64M 64k",
        `write -P 33 ${96 * MIB} ${41 * 512}`,
      ],
    },
    {
      id: "disk1",
      lengthBytes: 64 * MIB + 3 * 4096 + 512,
      bus: "virtio-scsi",
      kind: "raw",
      initial: ["write -P 21 1M 5M", "write -P 22 60M 1M"],
    },
  ]);
  const { rig } = disks;
  const [end0, end1] = disks.disks.map(({ lengthBytes }) => lengthBytes);
  let firstWireBytes = 0;
  await disks.fill("a", "disk0", 44 * MIB, 64 * 1024);
  for (const [leg, from] of route.slice(0, -1).entries()) {
    const to = route[leg + 1] as string;
    await t.test(`leg ${leg + 1}, ${from} to ${to}`, async (t) => {
      await disks.io(from, "disk0", `write -P ${100 + leg} ${leg}M 300k`);
      await disks.fill(from, "disk0", 41 * MIB + leg * 4096, 64 * 1024);
      await disks.io(from, "disk0", `write -P ${60 + leg} ${50 * MIB + leg * 512} 512`);
      await disks.io(from, "disk0", `write -z ${5 + leg}M 1M`);
      await disks.io(from, "disk0", `discard ${10 + leg}M 512k`);
      await disks.io(from, "disk0", `write -P ${70 + leg} ${end0 - 1024} 1024`);
      await disks.fill(from, "disk1", 8 * MIB, 256 * 1024);
      await disks.io(from, "disk1", `discard ${2 + leg}M 128k`);
      await disks.io(from, "disk1", `write -P ${80 + leg} ${end1 - 512} 512`);
      // A small change in what both sites have.
      await disks.io(from, "disk0", `write -P ${90 + leg} ${44 * MIB + 4096 + 512} 512`);
      // Written, but with what was there before.
      await disks.io(from, "disk1", "write -P 22 60M 512k");
      const { done, source, destination, different } = await disks.comparedLeg(from, to);
      t.strictSame(different, [], "both sites' disks are what the guest has made of them");
      t.ok(source.equals(destination), "and so is memory");
      await rig.untilAlive(to);
      t.strictSame(await disks.differences(to), [], "they are so when the VM runs, too");
      t.equal(done.leg, leg === 0 ? "first" : "return");
      if (leg === 0) firstWireBytes = done.diskWireBytes;
      else {
        t.ok(done.blocks.zero > 300, `${done.blocks.zero} blocks travelled as zeroes`);
        t.ok(done.diskBytes <= 5 * MIB, `${done.diskBytes} bytes of blocks after ${firstWireBytes}`);
        t.ok(done.blocks.delta > 0, `${done.blocks.delta} blocks travelled as deltas`);
        t.ok(done.blocks.delta + done.blocks.raw < 400, JSON.stringify(done.blocks));
      }
    });
  }
  await t.test("a leg without any write sends no block", async (t) => {
    const { done, different } = await disks.comparedLeg("a", "b");
    t.strictSame(different, []);
    t.equal(done.diskBytes, 0);
    t.equal(done.diskWireBytes, 0);
    await rig.untilAlive("b");
  });
  t.strictSame(rig.runs.overlaps(), [], "never did two copies run");
  const { findings } = await rig.verifyStores(["a", "b"]);
  t.strictSame(findings, [], "the verifier finds nothing wrong");
});

t.test("what the guest writes while rounds of a leg go on arrives", async (t) => {
  const disks = await DiskRig.boot(
    t,
    [
      { id: "disk0", lengthBytes: 128 * MIB + 512, initial: ["write -P 1 0 8M"] },
      { id: "disk1", lengthBytes: 64 * MIB, bus: "virtio-scsi", kind: "raw", fields: { granularity: 4096 } },
    ],
    // The link is slow: memory must not change faster than it carries.
    { dirtyPagesPerSecond: 200 },
  );
  const { rig } = disks;
  const end = 128 * MIB + 512;
  for (const [from, to] of [
    ["a", "b"],
    ["b", "a"],
    ["a", "b"],
  ] as const) {
    await t.test(`${from} to ${to}`, async (t) => {
      await disks.fill(from, "disk0", 16 * MIB, 8 * MIB);
      await disks.fill(from, "disk1", 0, 4 * MIB);
      const leg = disks.comparedLeg(from, to, { bitsPerSecond: 40e6 });
      const written = await disks.throughoutLeg(from, leg, 12, async (n) => {
        await disks.io(from, "disk1", `write -P ${n + 100} ${(n % 60) * MIB + 512} 512`);
        // What is little waits for the stop.
        if (n > 7) return;
        // Where the round has been, and where it has still to go.
        await disks.fill(from, "disk0", (16 + (n % 8)) * MIB + 4096, 512 * 1024);
        await disks.io(from, "disk0", `write -P ${n} ${end - 4096} 4096`);
        await disks.io(from, "disk0", `write -z ${(23 - (n % 8)) * MIB} 128k`);
        await disks.io(from, "disk1", `discard ${n % 4}M 64k`);
        // Written, then as before: it was sent and must be sent again.
        await disks.io(from, "disk0", `write -P ${n % 2} 1M 64k`);
      });
      const { done, source, destination, different } = await leg;
      t.ok(written > 1, `written ${written} times in ${done.rounds} rounds`);
      t.strictSame(different, [], "both sites' disks are what the guest has made of them");
      t.ok(source.equals(destination), "and so is memory");
      await rig.untilAlive(to);
      t.strictSame(await disks.differences(to), [], "they are so when the VM runs, too");
    });
  }
  t.strictSame(rig.runs.overlaps(), [], "never did two copies run");
  const { findings } = await rig.verifyStores(["a", "b"]);
  t.strictSame(findings, [], "the verifier finds nothing wrong");
});

/** What QEMU must not have any more when it goes on from the switchover, and a disk that cannot move. */

import t from "tap";
import { endsAs } from "../store/operation-errors.ts";
import { DiskRig } from "./disk-rig.ts";

const MIB = 1 << 20;

interface Node {
  readonly "node-name": string;
  readonly "dirty-bitmaps"?: readonly { readonly name: string; readonly persistent: boolean }[];
}

t.test("when QEMU goes on from the switchover, no export and no bitmap of the leg is left", async (t) => {
  const disks = await DiskRig.boot(
    t,
    [
      { id: "disk0", lengthBytes: 64 * MIB, initial: ["write -P 3 0 4M"] },
      { id: "disk1", lengthBytes: 64 * MIB, bus: "virtio-scsi", initial: ["write -P 4 0 4M"] },
    ],
    { dirtyPagesPerSecond: 200 },
  );
  const { rig } = disks;
  // The bitmaps of the images that the VM comes back to are persistent.
  await disks.comparedLeg("a", "b");
  await rig.untilAlive("b");
  for (const [from, to] of [
    ["b", "a"],
    ["a", "b"],
  ] as const) {
    await t.test(`${from} to ${to}`, async (t) => {
      await disks.fill(from, "disk0", 8 * MIB, 4 * MIB);
      const monitor = await rig.monitor(from);
      const seen: string[] = [];
      let left: Promise<string[]> | null = null;
      const stopWatching = monitor.onEvent(({ name, data }) => {
        if (name === "BLOCK_EXPORT_DELETED") seen.push("export deleted");
        if (name !== "MIGRATION") return;
        seen.push(String(data["status"]));
        if (data["status"] !== "device") return;
        left = exportsAndBitmaps(monitor);
        left.catch(() => {});
      });
      const leg = disks.comparedLeg(from, to, { bitsPerSecond: 40e6 });
      const written = await disks.throughoutLeg(from, leg, 40, async (n) => {
        await disks.io(from, "disk0", `write -P ${n} ${20 * MIB + 512 * n} 512`);
        await disks.io(from, "disk1", `write -P ${n} ${20 * MIB + 512 * n} 512`);
      });
      t.strictSame((await leg).different, [], "the disks arrive");
      stopWatching();
      t.ok(written > 0, `${written} writes during the leg`);
      const [stopped, device] = [seen.indexOf("pre-switchover"), seen.indexOf("device")];
      t.ok(stopped >= 0 && device > stopped, "QEMU waits for its word");
      const inTheStop = seen.slice(stopped, device).filter((what) => what === "export deleted");
      t.ok(
        inTheStop.length > 0,
        `${inTheStop.length} exports are read and taken back while the VM stands still`,
      );
      t.notOk(seen.slice(device).includes("export deleted"), "none is left then");
      t.strictSame(await (left as Promise<string[]> | null), [], "nor a bitmap of the leg");
      t.ok(seen.includes("completed"), `QEMU has survived: ${seen.join(", ")}`);
      await rig.untilAlive(to);
    });
  }
  const { findings } = await rig.verifyStores(["a", "b"]);
  t.strictSame(findings, [], "the verifier finds nothing wrong");
});

t.test("a disk that was resized does not move: the leg is refused, and the VM runs on", async (t) => {
  const disks = await DiskRig.boot(t, [{ id: "disk0", lengthBytes: 64 * MIB, initial: ["write -P 3 0 4M"] }]);
  const { rig } = disks;
  const resize = async (site: string, size: number) => {
    const monitor = await rig.monitor(site);
    await monitor.execute("block_resize", { "node-name": await disks.node(site, "disk0"), size });
  };
  await resize("a", 65 * MIB);
  const first = await rig.begin("a", "b");
  t.equal(first.error?.reason, "aborted");
  t.match(first.error?.message, new RegExp(`disk0.*resized.*${64 * MIB}.*${65 * MIB}`));
  t.ok(await rig.runsAt("a"), "the VM runs on");
  await rig.ticks("a", 5);
  await resize("a", 64 * MIB);
  t.strictSame((await disks.comparedLeg("a", "b")).different, [], "with its size back it moves");
  await rig.untilAlive("b");
  await disks.io("b", "disk0", "write -P 9 1M 64k");
  t.strictSame((await disks.comparedLeg("b", "a")).different, []);
  await rig.untilAlive("a");
  await resize("a", 80 * MIB);
  await t.rejects(rig.migrate("a", "b"), endsAs("aborted"), "a return leg is refused, too");
  t.ok(await rig.runsAt("a"));
  await rig.ticks("a", 5);
  await resize("a", 64 * MIB);
  await disks.fill("a", "disk0", 8 * MIB, 8 * MIB);
  const third = rig.begin("a", "b", { bitsPerSecond: 20e6 });
  let isResized = false;
  await disks.throughoutLeg("a", third, 3, async () => {
    if (isResized) return;
    // QEMU 10 does not let a disk be resized while it is exported.
    isResized = await resize("a", 72 * MIB).then(
      () => true,
      () => false,
    );
  });
  const { error } = await third;
  if (isResized) {
    t.equal(error?.reason, "aborted", "so is one in which it is resized");
    t.match(error?.message, new RegExp(`disk0.*resized.*${64 * MIB}.*${72 * MIB}`));
    t.ok(await rig.runsAt("a"));
  } else t.equal(error, null, "the disk kept its size and moved");
  t.strictSame(rig.runs.overlaps(), [], "never did two copies run");
});

/** What a QEMU has of a leg. */
async function exportsAndBitmaps(monitor: Awaited<ReturnType<DiskRig["rig"]["monitor"]>>): Promise<string[]> {
  const exports = await monitor.execute<{ id: string }[]>("query-block-exports");
  const nodes = await monitor.execute<Node[]>("query-named-block-nodes", { flat: true });
  const bitmaps = nodes.flatMap((node) => node["dirty-bitmaps"] ?? []);
  return [
    ...exports.map(({ id }) => `export ${id}`),
    ...bitmaps.filter(({ persistent }) => !persistent).map(({ name }) => `bitmap ${name}`),
  ];
}

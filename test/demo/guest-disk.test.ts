import { open, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import t from "tap";
import { DemoDisk } from "../../cli/demo/demo-disk.ts";
import { DiskMirror } from "../../cli/demo/disk-mirror.ts";
import { GuestDisk } from "../../cli/demo/guest-disk.ts";
import { forkLink } from "../../cli/demo/link-process.ts";
import { type PrecopyProgress, runPrecopy } from "../../cli/demo/precopy.ts";
import { type Machine, startGuest } from "./guest-machine.ts";

const mebibyte = 2 ** 20;
const shape = { memoryKiB: 32760, fillBytes: 2 * mebibyte, workingSetBytes: mebibyte, dirtyPagesPerTick: 1 };
const diskShape = { sizeBytes: 256 * mebibyte, filledBytes: 8 * mebibyte, content: "mixed" } as const;
const openLink = (targetHost: string, targetPort: number) =>
  forkLink({ targetHost, targetPort, rateBitsPerSecond: 400e6, oneWayDelayMs: 5 });

const folder = t.testdir();
let disks = 0;

t.test("what is written through the device is what is read back, and every other block too", async (t) => {
  const { machine, disk, guest } = await startWithDisk(t);
  await guest.rewrite(disk.spread(20));
  await guest.rewrite([512, 1024], 16);
  t.ok((await guest.compare()) >= diskShape.filledBytes);
  const before = disk.contentOf(100, 1);
  await machine.qmp.execute("stop");
  const writing = guest.startWriting(1e6);
  t.same(await writing.end(), { bytes: 0, lateWrites: 0 }, "a guest that stands still does not write");
  t.same(disk.contentOf(100, 1), before);
});

t.test("a block that was not written, or written elsewhere, is found", async (t) => {
  const { disk, guest } = await startWithDisk(t);
  disk.change(700).done();
  await t.rejects(guest.compare(), {
    name: "OperationError",
    reason: "verificationFailed",
    message: `The guest's disk differs at block ${disk.contentOf(700, 1).offset / 4096}: it does not hold what was written`,
  });
  const { disk: other, guest: otherGuest } = await startWithDisk(t);
  const file = await open(other.path, "r+");
  await file.write(Buffer.from("x"), 0, 1, diskShape.sizeBytes - 5000);
  await file.close();
  await t.rejects(otherGuest.compare(), { name: "OperationError", reason: "verificationFailed" });
});

t.test("a mirror and a pre-copy take the disk along while the guest writes", async (t) => {
  const { machine: source, disk, guest } = await startWithDisk(t);
  const diskPath = join(folder, `${++disks}.raw`);
  await writeFile(diskPath, "");
  await truncate(diskPath, diskShape.sizeBytes);
  const destination = await startGuest({ ...shape, diskPath, incoming: true });
  t.teardown(() => destination.stop());
  const progress: PrecopyProgress[] = [];
  const writing = guest.startWriting(400_000, 16);
  const mirror = await DiskMirror.copy({
    source: source.qmp,
    destination: destination.qmp,
    node: "disk0",
    openLink,
    onProgress: (step) => progress.push(step),
  });
  t.teardown(() => mirror.close());
  await writing.end();
  await guest.rewrite(disk.spread(10));
  await runPrecopy({
    source: source.qmp,
    destination: destination.qmp,
    openLink,
    beforeSwitchover: () => mirror.finish(),
  });
  t.match(await destination.qmp.execute("query-status"), { status: "running" });
  const arrived = new GuestDisk(destination.qmp, disk, destination.folder);
  t.ok((await arrived.compare()) >= diskShape.filledBytes);
  const { diskBytes, wireBytes } = await mirror.cost();
  t.ok(diskBytes >= diskShape.filledBytes);
  t.ok(wireBytes >= diskShape.filledBytes);
  t.ok(wireBytes < diskShape.sizeBytes / 4, "holes do not cross the link");
  t.ok(progress.length > 0);
  await arrived.rewrite(disk.spread(10));
  t.ok((await arrived.compare()) > 0, "the guest can write there");
});

t.test("an aborted mirror ends, and the guest goes on", async (t) => {
  const { machine: source } = await startWithDisk(t);
  const diskPath = join(folder, `${++disks}.raw`);
  await writeFile(diskPath, "");
  await truncate(diskPath, diskShape.sizeBytes);
  const destination = await startGuest({ ...shape, diskPath, incoming: true });
  t.teardown(() => destination.stop());
  const abort = new AbortController();
  await t.rejects(
    DiskMirror.copy({
      source: source.qmp,
      destination: destination.qmp,
      node: "disk0",
      openLink: (targetHost, targetPort) =>
        forkLink({ targetHost, targetPort, rateBitsPerSecond: 8e6, oneWayDelayMs: 5 }),
      onProgress: () => abort.abort(new Error("enough")),
      signal: abort.signal,
    }),
    /enough/,
  );
  t.match(await source.qmp.execute("query-status"), { status: "running" });
});

async function startWithDisk(t: {
  teardown(end: () => Promise<void>): void;
}): Promise<{ machine: Machine; disk: DemoDisk; guest: GuestDisk }> {
  const disk = await DemoDisk.create(join(folder, `${++disks}.raw`), diskShape);
  const machine = await startGuest({ ...shape, diskPath: disk.path });
  t.teardown(() => machine.stop());
  return { machine, disk, guest: new GuestDisk(machine.qmp, disk, machine.folder) };
}

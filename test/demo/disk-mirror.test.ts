import { truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import t from "tap";
import { DiskMirror } from "../../cli/demo/disk-mirror.ts";
import { forkLink } from "../../cli/demo/link-process.ts";
import { runPrecopy } from "../../cli/demo/precopy.ts";
import { temporaryFolder } from "../qemu/qemu-fixture.ts";
import { type Machine, startGuest } from "./guest-machine.ts";

const mebibyte = 2 ** 20;
const diskBytes = 8 * mebibyte;
const shape = { memoryKiB: 65528, fillBytes: mebibyte, workingSetBytes: 0, dirtyPagesPerTick: 0 };

t.test("a mirror that is given up leaves the source able to make another one", async (t) => {
  const folder = await temporaryFolder(t);
  const sourcePath = join(folder, "source.img");
  await writeFile(sourcePath, Buffer.alloc(diskBytes, "content of the disk"));
  const start = async (diskPath: string, incoming: boolean): Promise<Machine> => {
    const machine = await startGuest({ ...shape, diskPath, incoming });
    t.teardown(() => machine.stop());
    return machine;
  };
  const source = await start(sourcePath, false);
  const startDestination = async (name: string) => {
    const path = join(folder, name);
    await writeFile(path, "");
    await truncate(path, diskBytes);
    return { path, machine: await start(path, true) };
  };
  const options = (destination: Machine, rateBitsPerSecond: number) => ({
    source: source.qmp,
    destination: destination.qmp,
    node: "disk0",
    openLink: (targetHost: string, targetPort: number) =>
      forkLink({ targetHost, targetPort, rateBitsPerSecond, oneWayDelayMs: 1 }),
  });
  const first = await startDestination("first.img");
  const stop = new AbortController();
  const copying = DiskMirror.copy({
    ...options(first.machine, 1e6),
    signal: stop.signal,
    onProgress: () => stop.abort(new Error("given up")),
  });
  await t.rejects(copying, { message: "given up" }, "while it copies");
  t.strictSame(await source.qmp.execute("query-block-jobs"), []);
  await first.machine.stop();

  const second = await startDestination("second.img");
  const mirror = await DiskMirror.copy(options(second.machine, 1e9));
  await mirror.cancel();
  await mirror.close();
  t.strictSame(await source.qmp.execute("query-block-jobs"), [], "after it has copied everything");
  await second.machine.stop();

  const third = await startDestination("third.img");
  const whole = await DiskMirror.copy(options(third.machine, 1e9));
  const { openLink } = options(third.machine, 1e9);
  const ends = { source: source.qmp, destination: third.machine.qmp, openLink };
  await runPrecopy({ ...ends, beforeSwitchover: () => whole.finish() });
  const { diskBytes: copied, wireBytes } = await whole.cost();
  await whole.close();
  t.ok(copied >= diskBytes && wireBytes > diskBytes, `${copied} bytes, ${wireBytes} on the link`);
});

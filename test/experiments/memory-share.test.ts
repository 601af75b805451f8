import t from "tap";
import { nonZeroShare } from "../../cli/experiments/memory-share.ts";
import { startGuest } from "../demo/guest-machine.ts";
import { temporaryFolder } from "../qemu/qemu-fixture.ts";

const mebibyte = 2 ** 20;

t.test("pages that are not zero are counted in the guest's memory", async (t) => {
  const memoryKiB = 65528;
  const shape = { memoryKiB, workingSetBytes: mebibyte, dirtyPagesPerTick: 0 };
  const guest = await startGuest({ ...shape, fillBytes: 24 * mebibyte });
  t.teardown(() => guest.stop());
  await (await guest.openConsole()).ready();
  const share = await nonZeroShare(guest.qmp, memoryKiB * 1024, await temporaryFolder(t));
  const filled = (24 * mebibyte) / (memoryKiB * 1024);
  t.ok(share >= filled && share < filled + 0.05, `${share}, ${filled} was filled`);
});

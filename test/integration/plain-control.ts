/**
 * The control for a comparison that fails: the same guest moved by QEMU alone. Under TCG old versions of QEMU lose
 * guest writes in a migration by themselves; then the blame is not ours.
 */

import { tmpdir } from "node:os";
import { join } from "node:path";
import { startGuest } from "../demo/guest-machine.ts";
import { GuestModel } from "./guest-model.ts";
import type { Rig } from "./rig.ts";
import { waitFor } from "./wait-for.ts";

const PAGE = 4096;
const hops = 4;

/** Moves a guest like the rig's with plain QEMU a few times, and says whether its memory stays right. */
export async function plainVerdict(rig: Rig): Promise<string> {
  const { memoryBytes, fillBytes, workingSetBytes, dirtyPagesPerSecond } = rig.testbed.options;
  const dirtyPagesPerTick = Math.round(dirtyPagesPerSecond / 100);
  const model = new GuestModel({
    fillPages: fillBytes / PAGE,
    workingPages: workingSetBytes / PAGE,
    dirtyPagesPerTick,
  });
  const options = { memoryKiB: memoryBytes / 1024, fillBytes, workingSetBytes, dirtyPagesPerTick };
  let source = await startGuest(options);
  try {
    const guest = await source.openConsole();
    await guest.ready();
    for (let hop = 1; hop <= hops; hop++) {
      const destination = await startGuest({ ...options, incoming: true });
      const uri = `unix:${join(tmpdir(), `bfmig-plain-${process.pid}.sock`)}`;
      await destination.qmp.execute("migrate-incoming", { uri });
      await source.qmp.execute("migrate", { uri });
      await waitFor("plain QEMU has moved the guest", async () => {
        const { status } = await source.qmp.execute<{ status?: string }>("query-migrate");
        return status === "completed" || null;
      });
      await source.stop();
      source = destination;
      await source.qmp.execute("stop");
      const wrong = model.check(Buffer.from(await source.readPages(0, memoryBytes / PAGE)));
      if (wrong.length > 0) {
        return `plain QEMU loses writes too: after hop ${hop} ${wrong.length} pages are wrong, ${wrong[0]}`;
      }
      await source.qmp.execute("cont");
    }
    return `plain QEMU moves the same guest ${hops} times without a wrong page`;
  } finally {
    await source.stop();
  }
}

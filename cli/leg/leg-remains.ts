/** What a leg leaves in the VM's QEMU when its agent dies while disks are read. */

import { access, rm } from "node:fs/promises";
import { blockNodes, removeRoundBitmaps } from "../disk/dirty-bitmaps.ts";
import type { QmpClient } from "../qemu/qmp-client.ts";
import { qemuSocketPath } from "../qemu/unix-socket.ts";
import { removeLeftExports } from "./disk-exports.ts";

/** Where a leg listens for its own NBD client, in the VM's folder. */
export function diskSocketPath(runPath: string): string {
  return qemuSocketPath(runPath, "disks.sock");
}

/** Takes exports and bitmaps of a leg back that is over. Without its socket there was none, and nothing is touched. */
export async function removeLegRemains(qmp: QmpClient, runPath: string): Promise<void> {
  const path = diskSocketPath(runPath);
  const isLeft = await access(path).then(
    () => true,
    () => false,
  );
  if (!isLeft) return;
  await removeLeftExports(qmp);
  await removeRoundBitmaps(qmp, [...(await blockNodes(qmp)).keys()]);
  await rm(path, { force: true });
}

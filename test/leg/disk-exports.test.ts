import { setImmediate as nextTurn } from "node:timers/promises";
import t from "tap";
import { DiskExports } from "../../cli/leg/disk-exports.ts";
import { qemuSocketPath } from "../../cli/qemu/unix-socket.ts";
import { QemuServer } from "../nbd/qemu-server.ts";

const view = { node: "disk", bitmap: null, allocationDepth: false };

t.test("exports that are taken back while one is being opened leave QEMU alive", async (t) => {
  const server = await QemuServer.start(t);
  const { qmp } = server.qemu;
  await qmp.execute("nbd-server-stop");
  await server.addDisk("disk", "raw", 1 << 20);
  const socketPath = qemuSocketPath(server.folder, "disks.sock");
  for (let turns = 0; turns < 40; turns++) {
    const exports = new DiskExports(qmp, socketPath);
    await exports.start();
    const adding = exports.add(view);
    adding.catch(() => {});
    for (let turn = 0; turn < turns; turn++) await nextTurn();
    await exports.stop();
    await adding.catch(() => {});
    await t.rejects(exports.add(view), /the leg is over/);
    // A QEMU that waits for a client in its handshake would never answer again, nor let the VM run.
    await qmp.execute("query-status", undefined, { timeoutMs: 20_000 });
    t.strictSame(await qmp.execute("query-block-exports"), [], `nothing is left after ${turns} turns`);
  }
});

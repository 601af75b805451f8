import { connect } from "node:net";
import { join } from "node:path";
import t from "tap";
import { startOutgoing } from "../../cli/qemu/outgoing-migration.ts";
import { QmpClient } from "../../cli/qemu/qmp-client.ts";
import { fakeQmpServer } from "./fake-qmp-server.ts";
import { temporaryFolder } from "./qemu-fixture.ts";

t.test("a cancel that QEMU has overslept is ended by another word", async (t) => {
  // As QEMU 7.2 does when it is cancelled between letting go of its lock and its state pre-switchover.
  const told: string[] = [];
  let status = "none";
  const path = await fakeQmpServer(t, (line, socket) => {
    const { execute, arguments: given, id } = JSON.parse(line);
    const answer = (value: unknown) => socket.write(`${JSON.stringify({ return: value, id })}\n`);
    if (execute === "query-migrate") return answer({ status });
    if (execute === "query-status") return answer({ running: status !== "cancelling", status: "running" });
    if (execute === "query-migrate-capabilities") {
      const names = ["events", "return-path", "pause-before-switchover"];
      return answer(names.map((capability) => ({ capability, state: false })));
    }
    if (execute === "migrate") {
      status = "active";
      connect(given.uri.slice("unix:".length)).on("error", () => {});
    }
    if (execute === "migrate_cancel") status = "cancelling";
    if (execute === "migrate-continue") {
      told.push(given.state);
      status = "cancelled";
    }
    return answer({});
  });
  const qmp = await QmpClient.connect(path);
  t.teardown(() => qmp.close());
  const socketPath = join(await temporaryFolder(t), "m");
  const outgoing = await startOutgoing(qmp, { socketPath, onData: () => {} });
  outgoing.completed.catch(() => {});
  outgoing.preSwitchover.catch(() => {});
  await outgoing.abort();
  t.equal(outgoing.status, "cancelled");
  t.strictSame(told, ["cancelling"]);
});

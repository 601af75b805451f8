import t from "tap";
import { measureDirtyRate } from "../../cli/qemu/dirty-rate.ts";
import { QmpClient } from "../../cli/qemu/qmp-client.ts";
import { fakeQmpServer } from "./fake-qmp-server.ts";

/** A QEMU that answers these one after the other when it is asked for the rate. */
async function clientOf(t: Parameters<typeof fakeQmpServer>[0], answers: readonly object[]) {
  const asked: object[] = [];
  let next = 0;
  const path = await fakeQmpServer(t, (line, socket) => {
    const { execute, id, arguments: given } = JSON.parse(line);
    asked.push({ execute, ...given });
    const answer = execute === "query-dirty-rate" ? answers[Math.min(next++, answers.length - 1)] : {};
    socket.write(`${JSON.stringify({ return: answer, id })}\n`);
  });
  const client = await QmpClient.connect(path);
  t.teardown(() => client.close());
  return { client, asked };
}

t.test("it samples pages for a second, and waits for the answer", async (t) => {
  const { client, asked } = await clientOf(t, [
    { status: "measuring" },
    { status: "measured", "dirty-rate": 12, "calc-time": 1 },
  ]);
  t.equal(await measureDirtyRate(client), 12 << 20);
  // No other mode: it would use the dirty log that a migration needs.
  t.strictSame(asked[0], { execute: "calc-dirty-rate", "calc-time": 1, "sample-pages": 4096 });
  t.equal(asked.length, 3);
});

t.test("an answer without a rate is none", async (t) => {
  const { client } = await clientOf(t, [{ status: "measured" }]);
  t.equal(await measureDirtyRate(client), null);
});

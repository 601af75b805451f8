import t from "tap";
import { isRunning, QmpClient } from "../../cli/qemu/qmp-client.ts";
import { QmpClosedError, QmpError, QmpTimeoutError } from "../../cli/qemu/qmp-messages.ts";
import { fakeQmpServer, idOf } from "./fake-qmp-server.ts";
import { launchTestQemu } from "./qemu-fixture.ts";

t.test("answers find their commands in any order, byte by byte", async (t) => {
  const waiting: string[] = [];
  const path = await fakeQmpServer(t, (line, socket) => {
    waiting.push(line);
    if (waiting.length < 2) return;
    const answers = waiting
      .reverse()
      .map((each) => `{"return": "${JSON.parse(each).execute}", "id": ${idOf(each)}}\r\n`);
    for (const byte of Buffer.from(answers.join(""))) socket.write(Buffer.of(byte));
  });
  const qmp = await QmpClient.connect(path);
  t.same(qmp.version, [7, 2, 1]);
  t.same(await Promise.all([qmp.execute("one"), qmp.execute("two")]), ["one", "two"]);
  qmp.close();
  await qmp.closed;
});

t.test("an answer that comes too late is dropped", async (t) => {
  const path = await fakeQmpServer(t, (line, socket) => {
    const { execute, id } = JSON.parse(line);
    if (execute === "second") socket.write(`{"return": 1, "id": ${id - 1}}\n{"return": 2, "id": ${id}}\n`);
  });
  const qmp = await QmpClient.connect(path);
  await t.rejects(qmp.execute("first", {}, { timeoutMs: 1 }), QmpTimeoutError);
  t.equal(await qmp.execute("second"), 2);
  qmp.close();
});

for (const [what, bytes] of [
  ["not JSON", "{nonsense\n"],
  ["not an object", "[1]\n"],
  ["of no known kind", '{"hello": 1}\n'],
] as const) {
  t.test(`a line that is ${what} ends the connection and rejects what waits`, async (t) => {
    const path = await fakeQmpServer(t, (_line, socket) => socket.write(bytes));
    const qmp = await QmpClient.connect(path);
    const event = qmp.waitForEvent("STOP");
    event.catch(() => {});
    await t.rejects(qmp.execute("query-status"), {
      name: "QmpClosedError",
      message: /Cannot decode a QMP line/,
    });
    await t.rejects(event, QmpClosedError);
    await qmp.closed;
    t.ok(qmp.isClosed);
    await t.rejects(qmp.execute("query-status"), QmpClosedError);
  });
}

t.test("a line without end is refused at its limit", async (t) => {
  const path = await fakeQmpServer(t, (_line, socket) => {
    const piece = Buffer.alloc(1024 * 1024, 0x20);
    for (let i = 0; i < 65; i++) socket.write(piece);
  });
  const qmp = await QmpClient.connect(path);
  await t.rejects(qmp.execute("query-status"), { message: /exceeds 67108864 bytes/ });
});

t.test("a connection that QEMU closes rejects what waits", async (t) => {
  const path = await fakeQmpServer(t, (_line, socket) => socket.end());
  const qmp = await QmpClient.connect(path);
  await t.rejects(qmp.execute("quit"), { name: "QmpClosedError", message: /QEMU closed it/ });
  await qmp.closed;
});

t.test("connecting fails in time when nobody greets, listens, or speaks QMP", async (t) => {
  const silent = await fakeQmpServer(t, () => {}, "");
  await t.rejects(QmpClient.connect(silent, { timeoutMs: 20 }), QmpTimeoutError);
  await t.rejects(QmpClient.connect(silent, { signal: AbortSignal.abort(new Error("no")) }), {
    message: "no",
  });
  const stop = new AbortController();
  const connecting = QmpClient.connect(silent, { signal: stop.signal });
  stop.abort(new Error("enough"));
  await t.rejects(connecting, { message: "enough" });
  const stranger = await fakeQmpServer(t, () => {}, "SSH-2.0-OpenSSH\n");
  await t.rejects(QmpClient.connect(stranger), QmpClosedError);
  await t.rejects(QmpClient.connect("/nonexistent/q"), { name: "QmpClosedError", message: /ENOENT/ });
  await t.rejects(QmpClient.connect(`/${"x".repeat(107)}`), { name: "OperationError", message: /108 bytes/ });
});

t.test("waiting for an event can be narrowed, limited and stopped", async (t) => {
  const path = await fakeQmpServer(t, (line, socket) => {
    const event = (data: object) =>
      `${JSON.stringify({ event: "MIGRATION", data, timestamp: { seconds: 2, microseconds: 500 } })}\n`;
    socket.write(
      `${event({ status: "setup" })}${event({ status: "active" })}{"return": {}, "id": ${idOf(line)}}\n`,
    );
  });
  const qmp = await QmpClient.connect(path);
  const seen: string[] = [];
  const stop = qmp.onEvent(({ data }) => seen.push(String(data["status"])));
  const active = qmp.waitForEvent("MIGRATION", { where: ({ status }) => status === "active" });
  await qmp.execute("migrate");
  t.same(await active, { name: "MIGRATION", data: { status: "active" }, timestampMs: 2000.5 });
  stop();
  await qmp.execute("migrate");
  t.same(seen, ["setup", "active"]);
  await t.rejects(qmp.waitForEvent("STOP", { timeoutMs: 1 }), QmpTimeoutError);
  const abort = new AbortController();
  const waiting = qmp.waitForEvent("STOP", { signal: abort.signal });
  abort.abort(new Error("enough"));
  await t.rejects(waiting, { message: "enough" });
  qmp.close();
});

t.test("a real QEMU answers, refuses, reports and closes", async (t) => {
  const qemu = await launchTestQemu(t);
  const { qmp } = qemu;
  t.ok(qmp.version[0] >= 7);
  t.equal(await isRunning(qmp), true);
  const stopped = qmp.waitForEvent("STOP", { timeoutMs: 10_000 });
  await qmp.execute("stop");
  t.ok((await stopped).timestampMs > 0);
  t.equal(await isRunning(qmp), false);
  const refusal = await qmp.execute("no-such-command").catch((error: unknown) => error);
  t.match(refusal, { name: "QmpError", command: "no-such-command", errorClass: "CommandNotFound" });
  t.ok(refusal instanceof QmpError);
  t.same(await qemu.quit(), { code: 0, signal: null });
  await qmp.closed;
});

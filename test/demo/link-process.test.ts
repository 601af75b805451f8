import { fork } from "node:child_process";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { fileURLToPath } from "node:url";
import t from "tap";
import { forkLink } from "../../cli/demo/link-process.ts";
import { OperationError } from "../../cli/errors.ts";

const shape = { targetHost: "127.0.0.1", rateBitsPerSecond: 100e6, oneWayDelayMs: 1 };

t.test("a link in a child process carries, counts, is cut and restored, and ends", async (t) => {
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.pipe(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.teardown(() => server.close());
  const link = await forkLink({ ...shape, targetPort: (server.address() as { port: number }).port });
  t.teardown(() => link.close());
  t.equal(link.host, "127.0.0.1");
  const echo = async (text: string) => {
    const socket = connect(link.port, link.host);
    socket.write(text);
    const [answer] = await once(socket, "data");
    return { socket, answer: String(answer) };
  };
  const { socket, answer } = await echo("hello");
  t.equal(answer, "hello");
  t.same(await link.stats(), { aToB: 5, bToA: 5 });
  await link.setRate(200e6);
  await link.cut(1);
  const reset = t.rejects(once(socket, "close"), { code: "ECONNRESET" });
  await link.cut();
  await reset;
  await link.restore();
  const second = await echo("again");
  t.equal(second.answer, "again");
  const [connection] = await link.connections();
  t.match(connection, { id: 2, aToB: 5 }, "the first one is gone");
  const third = await echo("other");
  const secondReset = t.rejects(once(second.socket, "close"), { code: "ECONNRESET" });
  await link.reset(2);
  await secondReset;
  t.match(await link.connections(), [{ id: 3, aToB: 5 }], "the other one stays");
  third.socket.destroy();
  await t.rejects(link.setRate(-1), OperationError);
  await t.rejects(link.cut(-1), OperationError);
  await link.close();
  await link.close();
  await t.rejects(link.stats(), OperationError);
});

t.test("a link that cannot start leaves no process", async (t) => {
  await t.rejects(forkLink({ ...shape, targetPort: 1, rateBitsPerSecond: 0 }), OperationError);
});

t.test("a link ends when its parent is killed", async (t) => {
  const path = fileURLToPath(import.meta.url).replace(/process\.test(?=\.[jt]s$)/, "parent");
  const parent = fork(path);
  const [port] = (await once(parent, "message")) as [number];
  // The delay is a minute: nothing but the end of the link closes this connection soon.
  const socket = connect(port, "127.0.0.1");
  await once(socket, "connect");
  const ended = once(socket.resume(), "close").catch(() => {});
  parent.kill("SIGKILL");
  await once(parent, "exit");
  await ended;
  t.equal(await refusal(port), "ECONNREFUSED");
});

/** How connecting fails in the end. A process that ends closes its files one by one: until the listening one is gone, the kernel accepts. */
async function refusal(port: number): Promise<unknown> {
  for (;;) {
    const socket = connect(port, "127.0.0.1");
    const error = await once(socket, "connect").then(
      () =>
        once(socket.resume(), "close").then(
          () => undefined,
          () => undefined,
        ),
      (failure: NodeJS.ErrnoException) => failure,
    );
    if (error !== undefined) return error.code;
  }
}

import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import t from "tap";
import { type Link, type LinkOptions, startLink } from "../../cli/demo/link-emulator.ts";
import { OperationError } from "../../cli/errors.ts";

t.test("bytes arrive intact both ways on several connections", async (t) => {
  const { link } = await linkTo(t, (socket) => socket.pipe(socket), { queueBytes: 70_000 });
  const sent = [0, 1, 1000, 200_000, 500_000].map((length) => randomBytes(length));
  const received = await Promise.all(
    sent.map(async (bytes) => {
      const socket = dial(link);
      socket.end(bytes);
      return readAll(socket);
    }),
  );
  t.same(received.map(digest), sent.map(digest));
  const total = sent.reduce((sum, bytes) => sum + bytes.length, 0);
  t.same(link.stats(), { aToB: total, bToA: total });
});

t.test("a half-closed connection still carries the other direction", async (t) => {
  const { link } = await linkTo(t, (socket) => {
    socket.resume();
    socket.on("end", () => socket.end("answer after the end"));
  });
  const socket = dial(link);
  socket.end("question");
  t.equal((await readAll(socket)).toString(), "answer after the end");
});

t.test("a receiver that does not read stops its sender, and nobody else", async (t) => {
  const accepted: Socket[] = [];
  const { link } = await linkTo(t, (socket) => {
    accepted.push(socket);
    if (accepted.length === 1) socket.pause();
    else socket.pipe(socket);
  });
  const blocked = dial(link);
  blocked.write(Buffer.alloc(64 * 2 ** 20));
  await until(() => accepted.length === 1);
  const socket = dial(link);
  socket.end(Buffer.alloc(300_000));
  t.equal((await readAll(socket)).length, 300_000);
  let last = -1;
  await until(() => {
    const before = last;
    last = link.stats().aToB;
    return last === before;
  }, 200);
  t.ok(last < 64 * 2 ** 20, `stopped after ${last} bytes`);
  const drained = readAll(accepted[0]!);
  blocked.end();
  t.equal((await drained).length, 64 * 2 ** 20, "and goes on when it reads");
});

t.test("a reset is passed on, in either direction", async (t) => {
  const accepted: Socket[] = [];
  const { link } = await linkTo(t, (socket) => {
    accepted.push(socket);
    socket.on("data", () => socket.write("x"));
  });
  const fromClient = dial(link);
  fromClient.write("x");
  await once(fromClient, "data");
  fromClient.resetAndDestroy();
  t.equal(await failure(accepted[0]!), "ECONNRESET");
  const fromServer = dial(link);
  fromServer.write("x");
  await once(fromServer, "data");
  accepted[1]!.resetAndDestroy();
  t.equal(await failure(fromServer), "ECONNRESET");
});

t.test("a target that refuses resets the connection", async (t) => {
  const { link, server } = await linkTo(t, () => {});
  server.close();
  t.equal(await failure(dial(link)), "ECONNRESET");
});

t.test("a cut with a time delays, without loss", async (t) => {
  const { link } = await linkTo(t, (socket) => socket.pipe(socket), { rateBitsPerSecond: 50e6 });
  const bytes = randomBytes(400_000);
  const socket = dial(link);
  socket.end(bytes);
  await until(() => link.stats().aToB > 100_000);
  link.cut(50);
  const atCut = link.stats().aToB;
  t.equal(link.stats().aToB, atCut);
  link.setRate(200e6);
  t.equal(digest(await readAll(socket)), digest(bytes));
  t.throws(() => link.cut(-1), RangeError);
  t.throws(() => link.cut(Number.NaN), RangeError);
  t.throws(() => link.setRate(0), RangeError);
});

t.test("a cut without a time resets old and new connections until restore", async (t) => {
  const { link } = await linkTo(t, (socket) => socket.pipe(socket));
  const old = dial(link);
  old.write("x");
  await once(old, "data");
  const connecting = dial(link);
  await once(connecting, "connect");
  const failures = Promise.all([failure(old), failure(connecting)]);
  link.cut();
  t.same(await failures, ["ECONNRESET", "ECONNRESET"]);
  t.equal(await failure(dial(link)), "ECONNRESET");
  link.restore();
  const next = dial(link);
  next.end("again");
  t.equal((await readAll(next)).toString(), "again");
});

t.test("impossible options and a busy port are refused", async (t) => {
  const { link } = await linkTo(t, () => {});
  const target = { targetHost: "127.0.0.1", targetPort: 1, rateBitsPerSecond: 1e6, oneWayDelayMs: 1 };
  await t.rejects(startLink({ ...target, rateBitsPerSecond: 0 }), RangeError);
  await t.rejects(startLink({ ...target, oneWayDelayMs: -1 }), RangeError);
  await t.rejects(startLink({ ...target, listenPort: link.port }), OperationError);
});

/** A server and a fast link to it, both ended with the test. */
async function linkTo(
  t: { teardown(end: () => Promise<void>): void },
  serve: (socket: Socket) => void,
  options: Partial<LinkOptions> = {},
): Promise<{ link: Link; server: Server }> {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    serve(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address() as { port: number };
  const link = await startLink({
    targetHost: "127.0.0.1",
    targetPort: address.port,
    rateBitsPerSecond: 400e6,
    oneWayDelayMs: 2,
    ...options,
  });
  t.teardown(async () => {
    await link.close();
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { link, server };
}

function dial(link: Link): Socket {
  const socket = connect({ port: link.port, host: link.host, allowHalfOpen: true });
  socket.on("error", () => {});
  return socket;
}

async function readAll(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** Resolves with the code of the error that a socket ends with. */
async function failure(socket: Socket): Promise<string | undefined> {
  socket.resume();
  const [error] = (await once(socket, "error").catch((error) => [error])) as [NodeJS.ErrnoException];
  return error.code;
}

function digest(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

async function until(condition: () => boolean, everyMs = 2): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, everyMs));
}

import { once } from "node:events";
import t from "tap";
import { NbdClient } from "../../cli/nbd/client.ts";
import type { ReadSink } from "../../cli/nbd/reply-content.ts";
import type { Teardown } from "../qemu/qemu-fixture.ts";
import { listen } from "./fake-server.ts";
import { ascii, dataChunk, errorChunk, holeChunk, noneChunk, simpleReply } from "./wire.ts";

const SIZE = 1024 * 1024;
const Code = { read: 0, write: 1, disconnect: 2, flush: 3, writeZeroes: 6 } as const;
const NOWHERE: ReadSink = { data: () => {}, hole: () => {} };

/** A client that is connected to a server which the test plays. */
async function connected(test: Teardown, flags?: number) {
  const { socketPath, end } = await listen(test);
  const connecting = NbdClient.connect({ socketPath, exportName: "disk0" });
  const server = await end;
  await server.open(SIZE, flags);
  const client = await connecting;
  test.teardown(() => client.destroy());
  return { client, server };
}

t.test("requests are answered by their cookies, in whatever order", async (t) => {
  const { client, server } = await connected(t);
  const first = client.write(0, ascii("abcd"));
  const second = client.writeZeroes(4096, 8192);
  const seenFirst = await server.request();
  t.match(seenFirst, { command: Code.write, offset: 0, lengthBytes: 4 });
  t.strictSame(await server.take(4), ascii("abcd"));
  const seenSecond = await server.request();
  t.match(seenSecond, { command: Code.writeZeroes, offset: 4096, lengthBytes: 8192 });
  server.send(simpleReply(seenSecond.cookie));
  await second;
  server.send(noneChunk(seenFirst.cookie));
  await first;
});

t.test("a refused request leaves the connection usable", async (t) => {
  const { client, server } = await connected(t);
  const write = client.write(4096, new Uint8Array(512));
  const seen = await server.request();
  await server.take(512);
  server.send(errorChunk(seen.cookie, 28, "disk full"));
  await t.rejects(write, {
    name: "OperationError",
    message: "Cannot write 512 bytes at 4096 of export disk0: the server says ENOSPC: disk full",
  });
  const flush = client.flush();
  const seenFlush = await server.request();
  t.match(seenFlush, { command: Code.flush, offset: 0, lengthBytes: 0 });
  server.send(errorChunk(seenFlush.cookie, 5, ""));
  await t.rejects(flush, { message: "Cannot flush export disk0: the server says EIO" });
  const read = client.read(0, 512, NOWHERE);
  server.send(holeChunk((await server.request()).cookie, 0, 512, true));
  await read;
});

t.test("a server that goes away within a reply ends all requests with one reason", async (t) => {
  const { client, server } = await connected(t);
  const read = client.read(0, 8192, NOWHERE);
  const flush = client.flush();
  const { cookie } = await server.request();
  server.socket.end(dataChunk(cookie, 0, new Uint8Array(8192)).subarray(0, 1000));
  const reason = { name: "OperationError", message: "Lost export disk0: the server closed the connection" };
  await t.rejects(read, reason);
  await t.rejects(flush, reason);
  t.match(await client.closed, reason);
  await t.rejects(client.read(0, 512, NOWHERE), reason, "also requests that come later");
  await client.disconnect();
});

t.test("a server that breaks the protocol loses the connection", async (t) => {
  const { client, server } = await connected(t);
  const read = client.read(0, 8192, NOWHERE);
  const other = client.flush();
  const { cookie } = await server.request();
  server.send(holeChunk(cookie, 8000, 1000));
  const message =
    /^Lost export disk0: Cannot take an NBD reply: of a hole of 1000 bytes at 8000 in a read .* outside/;
  await t.rejects(read, { name: "OperationError", message, cause: { name: "FormatError" } });
  await t.rejects(other, { message });
  t.match(await client.closed, { message });
  await once(server.socket, "close");
});

t.test("bytes that nobody asked for end the connection", async (t) => {
  const { client, server } = await connected(t);
  server.send(ascii("HTTP/1.1 408 Request Timeout"));
  t.match(await client.closed, { message: /Lost export disk0: .*0x48545450 begins no reply/ });
});

t.test("a sink that throws fails its read only", async (t) => {
  const { client, server } = await connected(t);
  let calls = 0;
  const read = client.read(0, 1024, {
    data: () => {
      calls++;
      throw new Error("no room here");
    },
    hole: () => calls++,
  });
  const { cookie } = await server.request();
  server.send(dataChunk(cookie, 0, new Uint8Array(512)), holeChunk(cookie, 512, 512, true));
  await t.rejects(read, { message: "no room here" });
  t.equal(calls, 1);
  const flush = client.flush();
  server.send(simpleReply((await server.request()).cookie));
  await flush;
});

t.test("a disconnection waits for the requests under way and takes no more", async (t) => {
  const { client, server } = await connected(t);
  const flush = client.flush();
  const { cookie } = await server.request();
  const disconnection = client.disconnect();
  await t.rejects(client.flush(), { message: "Lost export disk0: it was disconnected here" });
  server.send(simpleReply(cookie));
  await flush;
  t.match(await server.request(), { command: Code.disconnect, cookie: 0, offset: 0, lengthBytes: 0 });
  server.socket.end();
  await disconnection;
  t.equal(await client.closed, null);
  await t.rejects(client.flush(), { message: "Lost export disk0: it was disconnected here" });
});

t.test("a connection that is given up ends at once", async (t) => {
  const { client, server } = await connected(t);
  const flush = client.flush();
  await server.request();
  client.destroy();
  await t.rejects(flush, { message: "Lost export disk0: it was given up here" });
  t.match(await client.closed, { message: "Lost export disk0: it was given up here" });
});

t.test("what the server does not offer is not asked for", async (t) => {
  const { client } = await connected(t, 1);
  await t.rejects(client.flush(), { message: "Cannot flush export disk0: the server does not offer that" });
  await t.rejects(client.writeZeroes(0, 512), {
    message: "Cannot write zeroes to export disk0: the server does not offer that",
  });
  await t.rejects(client.blockStatus(0, 512), TypeError);
});

t.test("ranges that cannot be are mistakes of the caller", async (t) => {
  const { client } = await connected(t);
  for (const [offset, length] of [
    [-1, 1],
    [0, 0],
    [SIZE - 1, 2],
    [0.5, 1],
    [Number.NaN, 1],
    [2 ** 60, 1],
  ] as const) {
    await t.rejects(client.read(offset, length, NOWHERE), RangeError, `${length} at ${offset}`);
    await t.rejects(client.writeZeroes(offset, length), RangeError);
  }
  await t.rejects(client.write(0, new Uint8Array(0)), RangeError);
});

t.test("nobody at the socket is told", async (t) => {
  const { socketPath } = await listen(t);
  const path = `${socketPath}.other`;
  await t.rejects(NbdClient.connect({ socketPath: path, exportName: "disk0" }), {
    name: "OperationError",
    message: `Cannot open export disk0 at ${path}: connect ENOENT ${path}`,
  });
});

t.test("a server that hangs up or keeps silent in the handshake is told", async (t) => {
  const { socketPath, end } = await listen(t);
  end.then((server) => server.socket.end(ascii("NBDMAGIC")));
  await t.rejects(NbdClient.connect({ socketPath, exportName: "disk0" }), {
    message: `Cannot open export disk0 at ${socketPath}: the server closed the connection`,
  });
  const silent = await listen(t);
  await t.rejects(NbdClient.connect({ socketPath: silent.socketPath, exportName: "disk0", timeoutMs: 20 }), {
    name: "OperationError",
    message: /the server did not answer within 20 ms/,
  });
});

t.test("a server that is none is told", async (t) => {
  const { socketPath, end } = await listen(t);
  end.then((server) => server.send(ascii("SSH-2.0-OpenSSH_9.2p1 Debian")));
  await t.rejects(NbdClient.connect({ socketPath, exportName: "disk0" }), {
    name: "OperationError",
    message: /^Cannot open export disk0 at .*: this is not an NBD server$/,
  });
});

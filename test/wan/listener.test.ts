/** What a listener does with those who only cost it something. */

import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { mock } from "node:test";
import { connect as connectTls } from "node:tls";
import t, { type Test } from "tap";
import type { PeerConnection } from "../../cli/wan/connection.ts";
import { freeFailures, maxConnectionsPerPeer, maxUnprovenPerAddress } from "../../cli/wan/connection-gate.ts";
import { dial, type Identity } from "../../cli/wan/handshake.ts";
import { listen, provingTimeoutMs } from "../../cli/wan/listener.ts";
import { tlsOptions } from "../../cli/wan/tls-credentials.ts";
import { endsAs } from "../store/operation-errors.ts";
import { makeIdentity, trustIn } from "./identities.ts";

async function siteB(t: Test): Promise<{
  a: Identity;
  b: Identity;
  port: number;
  url: string;
  refused: string[];
  arrived: PeerConnection[];
}> {
  const [a, b] = [await makeIdentity("a"), await makeIdentity("b")];
  const refused: string[] = [];
  const arrived: PeerConnection[] = [];
  const listener = await listen({
    host: "127.0.0.1",
    port: 0,
    identity: b,
    peers: { a: trustIn(a) },
    onPeer: (peer) => arrived.push(peer),
    onRefused: (_address, reason) => refused.push(reason),
  });
  t.teardown(() => listener.close());
  const { port } = listener.address;
  return { a, b, port, url: `wss://127.0.0.1:${port}`, refused, arrived };
}

/** A TCP connection that the test looks after. */
async function open(t: Test, port: number): Promise<Socket> {
  const socket = connect(port, "127.0.0.1");
  socket.on("error", () => {});
  t.teardown(() => socket.destroy());
  await once(socket, "connect");
  return socket;
}

/** Resolves when the other end has closed, in whatever way. */
function closed(socket: Socket): Promise<void> {
  socket.resume();
  return new Promise((resolve) => {
    if (socket.closed) resolve();
    else socket.once("close", () => resolve());
  });
}

t.test("who says little and slowly has one deadline for all of it, in each stage", async (t) => {
  mock.timers.enable({ apis: ["setTimeout"] });
  t.teardown(() => mock.timers.reset());
  const { a, port, refused } = await siteB(t);
  const silent = await open(t, port);
  const inTls = await open(t, port);
  inTls.write(Uint8Array.of(0x16, 3, 1));
  const inHttp = connectTls({
    socket: await open(t, port),
    ...tlsOptions(a.tls as NonNullable<typeof a.tls>),
  });
  inHttp.on("error", () => {});
  await once(inHttp, "secureConnect");
  inHttp.write("GET / HTTP/1.1\r\nHost: b\r\nX-Slow: ");
  mock.timers.tick(provingTimeoutMs - 1);
  t.strictSame(refused, []);
  mock.timers.tick(1);
  await Promise.all([silent, inTls, inHttp].map(closed));
  t.equal(refused.length, 3);
  for (const reason of refused) t.match(reason, /did not authenticate within 20 s/);
});

t.test("a connection that has proven who it is has no deadline", async (t) => {
  const { a, b, url, arrived } = await siteB(t);
  mock.timers.enable({ apis: ["setTimeout"] });
  t.teardown(() => mock.timers.reset());
  const toB = await dial("b", { url, ...trustIn(b) }, a);
  mock.timers.tick(2 * provingTimeoutMs);
  arrived[0].send({ type: "ack", sequence: 1 });
  t.strictSame(await toB.expect("ack", 60_000), { type: "ack", sequence: 1 });
});

t.test("connections that prove nothing do not pile up, and make room when they end", async (t) => {
  const { a, b, port, url, refused } = await siteB(t);
  const silent: Socket[] = [];
  for (let i = 0; i < maxUnprovenPerAddress; i++) silent.push(await open(t, port));
  await closed(await open(t, port));
  t.match(refused, [/too many connections from its address/]);
  await closed(await open(t, port));
  t.equal(refused.length, 1, "told once, not each time");
  await t.rejects(dial("b", { url, ...trustIn(b) }, a), endsAs("failed"));
  for (const socket of silent) socket.destroy();
  for (;;) {
    const toB = await dial("b", { url, ...trustIn(b) }, a).catch(() => null);
    if (toB === null) continue;
    t.ok(toB.isOpen);
    break;
  }
});

t.test("an address that fails again and again is dropped at once", async (t) => {
  const { a, b, url, refused, arrived } = await siteB(t);
  const stranger = await makeIdentity("a");
  const address = { url, ...trustIn(b) };
  for (let i = 0; i <= freeFailures; i++) await t.rejects(dial("b", address, stranger), endsAs("refused"));
  t.equal(refused.length, freeFailures + 1);
  t.match(refused[freeFailures], /its address has to wait/);
  await t.rejects(
    dial("b", address, a),
    { ...endsAs("failed"), message: /Cannot reach/ },
    "whoever comes from there",
  );
  t.strictSame(arrived, []);
  t.match(refused[freeFailures + 1], /its address has failed too often/);
});

t.test("one peer cannot take all connections, and is told so", async (t) => {
  const { a, b, url, refused } = await siteB(t);
  const address = { url, ...trustIn(b) };
  for (let i = 0; i < maxConnectionsPerPeer; i++) await dial("b", address, a);
  const oneMore = await dial("b", address, a);
  await t.rejects(oneMore.expect("ack", 10_000), { message: /too many connections/ });
  t.match(refused, [/site a has too many connections/]);
});

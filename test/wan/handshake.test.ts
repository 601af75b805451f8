import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { mock } from "node:test";
import t, { type Test } from "tap";
import { WebSocket, WebSocketServer } from "ws";
import { newNonce, noBinding, prove } from "../../cli/wan/authentication.ts";
import type { PeerConnection } from "../../cli/wan/connection.ts";
import { dial, type Identity } from "../../cli/wan/handshake.ts";
import { type Listener, listen } from "../../cli/wan/listener.ts";
import { protocolVersion } from "../../cli/wan/messages.ts";
import { endsAs } from "../store/operation-errors.ts";

/** These are about the messages: in plain text, so that the tests can read and write them. TLS: tls.test.ts. */
const token = Buffer.from("the token of both sites");
const a: Identity = { site: "a", token, tls: null };
const b: Identity = { site: "b", token, tls: null };
const stranger: Identity = { site: "a", token: Buffer.from("some other token, as long"), tls: null };

function dialPlain(url: string, site: string, identity: Identity): Promise<PeerConnection> {
  return dial(site, { url, fingerprint: null }, identity);
}

/** Site b listening, and who came or was refused. */
async function listening(
  t: Test,
): Promise<{ listener: Listener; url: string; peers: PeerConnection[]; refused: string[] }> {
  const peers: PeerConnection[] = [];
  const refused: string[] = [];
  const listener = await listen({
    host: "127.0.0.1",
    port: 0,
    identity: b,
    peers: { a: { fingerprint: null } },
    onPeer: (peer) => peers.push(peer),
    onRefused: (_address, reason) => refused.push(reason),
  });
  t.teardown(() => listener.close());
  return { listener, url: `ws://127.0.0.1:${listener.address.port}`, peers, refused };
}

/** A server that answers a connection with whatever the test says. */
async function impostor(t: Test, answer: (socket: WebSocket) => void): Promise<string> {
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  server.on("connection", answer);
  await once(server, "listening");
  t.teardown(() => {
    for (const client of server.clients) client.terminate();
    server.close();
  });
  return `ws://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}

t.test("two sites with the token know each other, and messages and frames go both ways", async (t) => {
  const { url, peers, refused } = await listening(t);
  const toB = await dialPlain(url, "b", a);
  await until(() => peers.length === 1);
  t.equal(toB.site, "b");
  t.equal(peers[0].site, "a");
  toB.send({ type: "ack", sequence: 1 });
  toB.sendFrame(Uint8Array.of(1, 2, 3));
  t.strictSame(await peers[0].expect("ack", 5000), { type: "ack", sequence: 1 });
  const frame = await peers[0].next(5000);
  t.strictSame([...("frame" in frame ? frame.frame : [])], [1, 2, 3]);
  peers[0].send({ type: "abort", reason: "refused", message: "no" });
  await t.rejects(toB.expect("ack", 5000), endsAs("refused"));
  t.strictSame(refused, []);
  t.ok(toB.wireBytes > 0);
  const lost = new Promise((resolve) => toB.onLost(resolve));
  peers[0].fail("enough");
  await lost;
  t.notOk(toB.isOpen);
  await t.rejects(toB.expect("ack", 5000), /Lost the connection/);
});

t.test("a site with another token is refused, and told no more than that", async (t) => {
  const { url, peers, refused } = await listening(t);
  await t.rejects(dialPlain(url, "b", stranger), endsAs("refused"));
  await t.rejects(dialPlain(url, "b", stranger), /authentication failed/);
  await until(() => refused.length === 2);
  t.strictSame(peers, []);
});

t.test("a site that is not known is refused although it has the token", async (t) => {
  const { url, refused } = await listening(t);
  await t.rejects(dialPlain(url, "b", { site: "c", token, tls: null }), /authentication failed/);
  await until(() => refused.length === 1);
  t.match(refused, [/it says that it is site c, but it is no peer/]);
});

t.test("a site that is another one than was dialled is refused", async (t) => {
  const { url } = await listening(t);
  await t.rejects(dialPlain(url, "x", a), endsAs("refused"));
  await t.rejects(dialPlain(url, "x", a), /it is site b, not x/);
});

t.test(
  "a server that does not know the token is not trusted, nor one that sends our own proof back",
  async (t) => {
    for (const reflects of [false, true]) {
      const url = await impostor(t, (socket) => {
        const nonce = newNonce();
        socket.send(JSON.stringify({ type: "challenge", protocol: protocolVersion, nonce }));
        socket.once("message", (data) => {
          const hello = JSON.parse(String(data));
          const mac = reflects
            ? hello.mac
            : prove({ token: stranger.token, binding: noBinding }, "server", nonce, hello.nonce, "b");
          socket.send(JSON.stringify({ type: "welcome", site: "b", mac }));
        });
      });
      await t.rejects(dialPlain(url, "b", a), /does not know the token/);
    }
  },
);

t.test("another version of the protocol is refused by its number, on either side", async (t) => {
  const url = await impostor(t, (socket) => {
    socket.send(JSON.stringify({ type: "challenge", protocol: protocolVersion + 1, nonce: newNonce() }));
  });
  await t.rejects(
    dialPlain(url, "b", a),
    new RegExp(`version ${protocolVersion + 1}, this site speaks ${protocolVersion}$`),
  );

  const { url: ours, refused, peers } = await listening(t);
  const socket = new WebSocket(ours);
  const [challenge] = await once(socket, "message");
  const { nonce: serverNonce } = JSON.parse(String(challenge));
  const nonce = newNonce();
  const mac = prove({ token, binding: noBinding }, "client", serverNonce, nonce, "a");
  socket.send(JSON.stringify({ type: "hello", protocol: protocolVersion + 1, site: "a", nonce, mac }));
  await until(() => refused.length === 1);
  t.strictSame(peers, []);
  socket.terminate();
});

t.test("what comes instead of a greeting is refused", async (t) => {
  const { url, refused, peers } = await listening(t);
  const greetings = ["nonsense", JSON.stringify({ type: "ack", sequence: 1 }), Uint8Array.of(1, 2, 3)];
  for (const [i, greeting] of greetings.entries()) {
    const socket = new WebSocket(url);
    socket.on("error", () => {});
    await once(socket, "message");
    socket.send(greeting);
    await until(() => refused.length === i + 1);
    socket.terminate();
  }
  t.strictSame(peers, []);
});

t.test("a hello cannot be played back on another connection", async (t) => {
  const { url, refused, peers } = await listening(t);
  let recorded = "";
  const proxy = await impostor(t, (socket) => {
    const upstream = new WebSocket(url);
    upstream.on("message", (data) => socket.send(String(data)));
    socket.on("message", (data) => {
      recorded = String(data);
      upstream.send(recorded);
    });
    socket.on("close", () => upstream.terminate());
  });
  (await dialPlain(proxy, "b", a)).fail("recorded");
  await until(() => peers.length === 1);
  const socket = new WebSocket(url);
  await once(socket, "message");
  socket.send(recorded);
  await until(() => refused.length === 1);
  t.equal(peers.length, 1);
  socket.terminate();
});

t.test("a peer that stays silent is given up after ten seconds, on either side", async (t) => {
  const { url: ours, refused } = await listening(t);
  const silent = new WebSocket(ours);
  await once(silent, "message");
  let reached = 0;
  const url = await impostor(t, () => reached++);
  mock.timers.enable({ apis: ["setTimeout"] });
  t.teardown(() => mock.timers.reset());
  const dialled = t.rejects(dialPlain(url, "b", a), /no 'challenge' within 10000 ms/);
  await until(() => reached === 1);
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
  // The listener's timer began before the clock was taken over.
  mock.timers.tick(10_000);
  await dialled;
  mock.timers.reset();
  silent.terminate();
  await until(() => refused.length === 1);
});

t.test("a place where nobody listens, and a port that is taken, are told as such", async (t) => {
  const { listener, url } = await listening(t);
  await t.rejects(
    listen({
      host: "127.0.0.1",
      port: listener.address.port,
      identity: b,
      peers: {},
      onPeer: () => {},
      onRefused: () => {},
    }),
    /Cannot listen on/,
  );
  await listener.close();
  await t.rejects(dialPlain(url, "b", a), /Cannot reach ws:/);
});

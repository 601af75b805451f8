/** Who is let in, and who is trusted, on connections with TLS. */

import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { connect as connectTls, createServer as createTlsServer } from "node:tls";
import t, { type Test } from "tap";
import { WebSocket } from "ws";
import type { PeerConnection } from "../../cli/wan/connection.ts";
import { dial, type Identity } from "../../cli/wan/handshake.ts";
import { listen } from "../../cli/wan/listener.ts";
import { tlsOptions } from "../../cli/wan/tls-credentials.ts";
import type { PeerTrust } from "../../cli/wan/tls-peer.ts";
import { endsAs } from "../store/operation-errors.ts";
import { makeAuthority, makeIdentity, trustIn } from "./identities.ts";

const byAuthority: PeerTrust = { fingerprint: null };

/** A site that listens: its URL, who came, and who was refused. */
async function listening(t: Test, identity: Identity, peers: Record<string, PeerTrust>) {
  const arrived: PeerConnection[] = [];
  const refused: string[] = [];
  const waiting: (() => void)[] = [];
  const tell = () => {
    for (const look of waiting.splice(0)) look();
  };
  const listener = await listen({
    host: "127.0.0.1",
    port: 0,
    identity,
    peers,
    onPeer: (peer) => {
      arrived.push(peer);
      tell();
    },
    onRefused: (_address, reason) => {
      refused.push(reason);
      tell();
    },
  });
  t.teardown(() => listener.close());
  const until = async (condition: () => boolean) => {
    while (!condition()) await new Promise<void>((resolve) => waiting.push(resolve));
  };
  const { port } = listener.address;
  return { port, url: `wss://127.0.0.1:${port}`, arrived, refused, until };
}

function credentials(identity: Identity) {
  if (identity.tls === null) throw new TypeError("no TLS");
  return identity.tls;
}

t.test(
  "two sites that have pinned each other's certificate talk in TLS 1.3, with and without a token",
  async (t) => {
    for (const token of [null, "a token that both sites have"]) {
      const [a, b] = [await makeIdentity("a", token), await makeIdentity("b", token)];
      const { url, arrived, until, refused } = await listening(t, b, { a: trustIn(a), c: byAuthority });
      const toB = await dial("b", { url, ...trustIn(b) }, a);
      await until(() => arrived.length === 1);
      t.equal(arrived[0].site, "a");
      toB.sendFrame(Uint8Array.of(1, 2, 3));
      const incoming = await arrived[0].next(10_000);
      t.strictSame("frame" in incoming && [...incoming.frame], [1, 2, 3]);
      t.strictSame(refused, []);
    }
  },
);

t.test(
  "a token is a second factor: a certificate alone is not enough where the other site has one",
  async (t) => {
    const [a, b] = [await makeIdentity("a"), await makeIdentity("b", "a token that only b has")];
    const { url, refused, arrived } = await listening(t, b, { a: trustIn(a) });
    await t.rejects(dial("b", { url, ...trustIn(b) }, a), {
      ...endsAs("refused"),
      message: /authentication failed/,
    });
    const other = { ...a, token: Buffer.from("a token that only a has") };
    await t.rejects(dial("b", { url, ...trustIn(b) }, other), { message: /authentication failed/ });
    t.match(refused, [/it has another token/, /it has another token/]);
    t.strictSame(arrived, []);
  },
);

t.test(
  "a server with another certificate than the pinned one is not trusted, and gets not a byte",
  async (t) => {
    const [a, b, evil] = [await makeIdentity("a"), await makeIdentity("b"), await makeIdentity("b")];
    let received = 0;
    const server = createTlsServer(tlsOptions(credentials(evil)), (socket) => {
      socket.on("error", () => {});
      socket.on("data", (bytes) => {
        received += bytes.length;
      });
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    t.teardown(() => server.close());
    server.on("tlsClientError", () => {});
    const closed = new Promise<void>((resolve) => {
      server.once("connection", (socket: Socket) => socket.once("close", () => resolve()));
    });
    const url = `wss://127.0.0.1:${(server.address() as AddressInfo).port}`;
    await t.rejects(dial("b", { url, ...trustIn(b) }, a), {
      ...endsAs("refused"),
      message: `Cannot trust ${url}: its certificate is ${credentials(evil).fingerprint}, the one of b is ${credentials(b).fingerprint}`,
    });
    await closed;
    t.equal(received, 0);
  },
);

t.test(
  "a client whose certificate nobody pinned, or that shows none, gets an abort and nothing else",
  async (t) => {
    const [a, b, stranger] = [await makeIdentity("a"), await makeIdentity("b"), await makeIdentity("a")];
    const { url, refused, arrived, until } = await listening(t, b, { a: trustIn(a) });
    await t.rejects(dial("b", { url, ...trustIn(b) }, stranger), {
      ...endsAs("refused"),
      message: /authentication failed/,
    });
    t.match(refused, [new RegExp(`its certificate ${credentials(stranger).fingerprint} is of no peer`)]);

    const nobody = new WebSocket(url, { rejectUnauthorized: false });
    const messages: string[] = [];
    nobody.on("message", (data) => messages.push(String(data)));
    nobody.on("error", () => {});
    await once(nobody, "close");
    t.strictSame(messages, ['{"type":"abort","reason":"refused","message":"authentication failed"}']);
    await until(() => refused.length === 2);
    t.match(refused[1], /it showed no certificate/);
    t.strictSame(arrived, []);
  },
);

t.test("a peer cannot say that it is another peer: the certificate says who it is", async (t) => {
  const [a, b, c] = [await makeIdentity("a"), await makeIdentity("b"), await makeIdentity("c")];
  const { url, refused, arrived } = await listening(t, b, { a: trustIn(a), c: trustIn(c) });
  await t.rejects(dial("b", { url, ...trustIn(b) }, { ...c, site: "a" }), endsAs("refused"));
  t.match(refused, [/says that it is site a, but its certificate is not that of this peer/]);
  t.strictSame(arrived, []);
});

t.test(
  "an authority vouches for sites: by the name in the certificate, either as DNS or as common name",
  async (t) => {
    const authority = await makeAuthority();
    const a = await authority.issue("a", { dnsName: "a" });
    const b = await authority.issue("b", { dnsName: null, commonName: "b" });
    const { url, arrived, until } = await listening(t, b, { a: byAuthority });
    await dial("b", { url, ...byAuthority }, a);
    await until(() => arrived.length === 1);
    t.equal(arrived[0].site, "a");
  },
);

t.test("what an authority did not say is not believed, at neither end", async (t) => {
  const authority = await makeAuthority();
  const stranger = await makeAuthority("another authority");
  const a = await authority.issue("a", { dnsName: "a" });
  const b = await authority.issue("b", { dnsName: "b" });
  const yesterday = new Date(Date.now() - 24 * 3600 * 1000);
  const { ca } = credentials(b);
  const wrong: [what: string, make: (site: string) => Promise<Identity>, why: RegExp][] = [
    ["expired", (site) => authority.issue(site, { dnsName: site, notAfter: yesterday }), /CERT_HAS_EXPIRED/],
    [
      "the name of another site",
      (site) => authority.issue(site, { dnsName: "c" }),
      /names another site than/,
    ],
    ["a wildcard", (site) => authority.issue(site, { dnsName: "*" }), /names another site than/],
    [
      "another authority",
      async (site) => {
        const issued = await stranger.issue(site, { dnsName: site });
        return { ...issued, tls: { ...credentials(issued), ca } };
      },
      /no authority of this site vouches for its certificate/,
    ],
    [
      "no authority",
      async (site) => {
        const own = await makeIdentity(site);
        return { ...own, tls: { ...credentials(own), ca } };
      },
      /no authority of this site vouches/,
    ],
  ];
  for (const [what, make, why] of wrong) {
    const server = await listening(t, await make("b"), { a: byAuthority });
    await t.rejects(
      dial("b", { url: server.url, ...byAuthority }, a),
      { ...endsAs("refused"), message: why },
      `a server with ${what}`,
    );
    const good = await listening(t, b, { a: byAuthority });
    await t.rejects(
      dial("b", { url: good.url, ...byAuthority }, await make("a")),
      { ...endsAs("refused"), message: /authentication failed/ },
      `a client with ${what}`,
    );
    t.strictSame(good.arrived, [], what);
  }
});

t.test("a pin counts more than an authority, and without either nobody is trusted", async (t) => {
  const authority = await makeAuthority();
  const a = await authority.issue("a", { dnsName: "a" });
  const b = await authority.issue("b", { dnsName: "b" });
  const pinned = await listening(t, b, { a: trustIn(await makeIdentity("a")) });
  await t.rejects(dial("b", { url: pinned.url, ...byAuthority }, a), { message: /authentication failed/ });
  const none = await makeIdentity("b");
  const open = await listening(t, none, { a: byAuthority });
  await t.rejects(dial("b", { url: open.url, ...trustIn(none) }, a), { message: /authentication failed/ });
  const alone = await makeIdentity("a");
  await t.rejects(dial("b", { url: pinned.url, ...byAuthority }, alone), {
    ...endsAs("refused"),
    message: /no fingerprint of b is known, and no authority/,
  });
});

t.test("plain text on a port with TLS, TLS on a port without, and an older TLS lead nowhere", async (t) => {
  const token = "a token that both sites have";
  const [a, b] = [await makeIdentity("a", token), await makeIdentity("b", token)];
  const plainA = { ...a, tls: null };
  const secure = await listening(t, b, { a: trustIn(a) });
  await t.rejects(dial("b", { url: secure.url.replace("wss:", "ws:"), fingerprint: null }, plainA), {
    ...endsAs("failed"),
    message: /Cannot reach ws:/,
  });
  await secure.until(() => secure.refused.length === 1);
  t.match(secure.refused, [/no TLS: ERR_SSL_/]);

  const plain = await listening(t, { ...b, tls: null }, { a: byAuthority });
  await t.rejects(dial("b", { url: plain.url, ...trustIn(b) }, a), {
    ...endsAs("failed"),
    message: /Cannot reach wss:.*(speaks no TLS|closed the connection)/,
  });
  await t.rejects(dial("b", { url: plain.url, ...trustIn(b) }, plainA), { message: /speaks ws only/ });
  await t.rejects(dial("b", { url: "ws://127.0.0.1:1", ...trustIn(b) }, a), { message: /speaks wss only/ });

  const old = connectTls({
    port: secure.port,
    host: "127.0.0.1",
    ...tlsOptions(credentials(a)),
    minVersion: "TLSv1.2",
    maxVersion: "TLSv1.2",
  });
  const [error] = await once(old, "error");
  t.match(error.code, /ALERT_PROTOCOL_VERSION|ECONNRESET/);
  t.strictSame([...secure.arrived, ...plain.arrived], []);
});

t.test(
  "a handshake that is relayed from one channel to another fails, whatever keys the relay has",
  async (t) => {
    for (const token of [null, "a token that both sites have"]) {
      const [a, b] = [await makeIdentity("a", token), await makeIdentity("b", token)];
      const { url, refused, arrived, port } = await listening(t, b, { a: trustIn(a) });
      // The worst case: it has the keys of both sites, so that TLS is right at both of its ends.
      const relay = createTlsServer(tlsOptions(credentials(b)), (socket) => {
        const onwards = connectTls({ port, host: "127.0.0.1", ...tlsOptions(credentials(a)) });
        for (const end of [socket, onwards]) end.on("error", () => {});
        socket.pipe(onwards).pipe(socket);
      });
      relay.listen(0, "127.0.0.1");
      await once(relay, "listening");
      t.teardown(() => relay.close());
      const relayed = url.replace(/\d+$/, String((relay.address() as AddressInfo).port));
      await t.rejects(dial("b", { url: relayed, ...trustIn(b) }, a), { message: /authentication failed/ });
      t.match(refused, [/its connection is relayed/]);
      t.strictSame(arrived, []);
    }
  },
);

t.test("bytes on the wire are counted as they are there: TLS and all", async (t) => {
  const [a, b] = [await makeIdentity("a"), await makeIdentity("b")];
  const { port, url, arrived, until } = await listening(t, b, { a: trustIn(a) });
  let crossed = 0;
  const proxy = createServer((near: Socket) => {
    const far = connect(port, "127.0.0.1");
    for (const [from, to] of [
      [near, far],
      [far, near],
    ]) {
      from.on("error", () => {});
      from.on("data", (bytes) => {
        crossed += bytes.length;
        to.write(bytes);
      });
      from.on("close", () => to.destroy());
    }
  });
  proxy.listen(0, "127.0.0.1");
  await once(proxy, "listening");
  t.teardown(() => proxy.close());
  const through = url.replace(/\d+$/, String((proxy.address() as AddressInfo).port));
  const toB = await dial("b", { url: through, ...trustIn(b) }, a);
  await until(() => arrived.length === 1);
  const frame = new Uint8Array(100_000).fill(7);
  for (let i = 0; i < 20; i++) toB.sendFrame(frame);
  for (let i = 0; i < 20; i++) await arrived[0].next(10_000);
  arrived[0].send({ type: "ack", sequence: 1 });
  await toB.expect("ack", 10_000);
  t.equal(toB.wireBytes, crossed);
  t.equal(arrived[0].wireBytes, crossed);
  t.ok(crossed > 20 * frame.length + 2000, "TLS costs something");
});

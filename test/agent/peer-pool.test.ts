import { setImmediate as nextTurn } from "node:timers/promises";
import t from "tap";
import { PeerPool } from "../../cli/agent/peer-pool.ts";
import { OperationError } from "../../cli/errors.ts";
import type { PeerConnection } from "../../cli/wan/connection.ts";
import { listeningPeer } from "../wan/connection-pair.ts";

/** A pool that dials a real peer, and both ends of each connection that it made. */
async function poolWithPeer(t: Parameters<typeof listeningPeer>[0], away = 0) {
  const peer = await listeningPeer(t);
  const pairs: { a: PeerConnection; b: PeerConnection }[] = [];
  const changes = new Set<() => void>();
  let dialled = 0;
  const pool = new PeerPool(async () => {
    if (++dialled <= away) throw new OperationError("failed", "Cannot reach site b: it is away");
    const pair = await peer.connect();
    pairs.push(pair);
    setImmediate(() => {
      for (const look of changes) look();
    });
    return pair.a;
  });
  t.teardown(() => pool.stop());
  const connected = (count: number) =>
    new Promise<void>((resolve) => {
      const look = () => pairs.length >= count && resolve();
      changes.add(look);
      look();
    });
  return { pool, pairs, connected, dialled: () => dialled };
}

t.test("a connection is ready before it is asked for, and is given away once", async (t) => {
  const { pool, pairs, connected, dialled } = await poolWithPeer(t);
  pool.keep("b");
  pool.keep("b");
  await connected(1);
  const first = await pool.take("b");
  t.equal(first, pairs[0].a);
  t.equal(dialled(), 1, "asked to keep twice, dialled once");
  const second = await pool.take("b");
  t.equal(second, pairs[1].a, "nothing was ready any more: a new one");
});

t.test("bytes that kept a connection alive do not count for who takes it", async (t) => {
  const { pool, pairs, connected } = await poolWithPeer(t);
  pool.keep("b");
  await connected(1);
  const { a, b } = pairs[0];
  const before = a.wireBytes;
  b.send({ type: "ack", sequence: 1 });
  await a.next(10_000);
  t.ok(a.wireBytes > before);
  t.equal((await pool.take("b")).wireBytes, before);
});

t.test("a peer that is away is dialled again, and who takes meanwhile is told", async (t) => {
  const { pool, pairs, connected, dialled } = await poolWithPeer(t, 2);
  pool.keep("b");
  await t.rejects(pool.take("b"), { message: /it is away/ });
  await connected(1);
  t.equal(dialled(), 3);
  t.equal(await pool.take("b"), pairs[0].a);
});

t.test("a peer that was away and has dialled this site is tried again at once", async (t) => {
  // By itself it would be minutes until the ninth try.
  const { pool, pairs, connected, dialled } = await poolWithPeer(t, 8);
  pool.keep("b");
  const there = connected(1);
  while (pairs.length === 0) {
    pool.met("b");
    await nextTurn();
  }
  await there;
  t.equal(dialled(), 9);
  pool.met("b");
  pool.met("c");
  t.equal(await pool.take("b"), pairs[0].a, "one that is ready stays");
});

t.test("a ready connection that is lost is not given away, and another is made", async (t) => {
  const { pool, pairs, connected } = await poolWithPeer(t);
  pool.keep("b");
  await connected(1);
  pairs[0].a.fail("the link broke");
  const taken = await pool.take("b");
  t.equal(taken, pairs[1].a);
  t.ok(taken.isOpen);
  await connected(3);
  t.equal(await pool.take("b"), pairs[2].a, "by itself, without being asked again");
});

t.test("a pool that is stopped closes what is ready and dials no more", async (t) => {
  const { pool, pairs, connected, dialled } = await poolWithPeer(t);
  pool.keep("b");
  await connected(1);
  const lost = new Promise((resolve) => pairs[0].b.onLost(resolve));
  pool.stop();
  await lost;
  pool.keep("b");
  t.equal(dialled(), 1);
});

t.test("a connection that comes after the stop is closed", async (t) => {
  const { pool, pairs, connected } = await poolWithPeer(t);
  pool.keep("b");
  pool.stop();
  await connected(1);
  await new Promise((resolve) => pairs[0].b.onLost(resolve));
  t.notOk(pairs[0].b.isOpen);
});

t.test("a peer that refuses is told once for each reason, and one that is away is not", async (t) => {
  const refused = (message: string) => new OperationError("refused", message);
  const outcomes = [
    refused("no"),
    refused("no"),
    new OperationError("failed", "it is away"),
    refused("never"),
  ];
  const told: string[] = [];
  await new Promise<void>((resolve) => {
    const pool = new PeerPool(
      async () => {
        throw outcomes.shift();
      },
      (site, reason) => {
        told.push(`${site}: ${reason}`);
        if (outcomes.length === 0) resolve();
      },
    );
    t.teardown(() => pool.stop());
    pool.keep("b");
    // The pool's own timers do not keep the process.
    const alive = setInterval(() => {}, 1000);
    t.teardown(() => clearInterval(alive));
  });
  t.strictSame(told, ["b: no", "b: never"]);
});

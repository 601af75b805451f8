/** Both ends of a striped leg's link over real connections, without QEMU and store. */

import t, { type Test } from "tap";
import { DestinationLink } from "../../cli/leg/destination-link.ts";
import { SourceLink } from "../../cli/leg/source-link.ts";
import type { PeerConnection } from "../../cli/wan/connection.ts";
import type { Message } from "../../cli/wan/messages.ts";
import { listeningPeer } from "../wan/connection-pair.ts";
import { frameOf, numberOf } from "./numbered-frames.ts";

const legId = "0b1f8c64-6d0d-4b57-9d59-0a4f4b1f6a11";
const root = "00".repeat(32);
const begin: Message = {
  type: "begin",
  generation: 1,
  base: null,
  machine: "pc",
  regions: [{ name: "pc.ram", kind: "ram", lengthBytes: 4096 }],
};

/** Waits until something is so, which some event makes so. */
async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setTimeout(resolve, 5));
}

/** A leg that has been offered: frames are acknowledged as they come, in order. */
async function stripedLeg(t: Test, streams: number, bytesPerSecond: number | null = null) {
  const peer = await listeningPeer(t);
  const main = await peer.connect();
  /** The source's end and the destination's of each connection, as they were made. */
  const made = [main];
  const came: string[] = [];
  const failures: Error[] = [];
  const warnings: string[] = [];
  let stored = 1;
  let delivered = 1;
  /** Answers a further connection as an agent does. */
  const serve = async (connection: PeerConnection) => {
    const incoming = await connection.next(null).catch(() => null);
    const message = incoming && "message" in incoming ? incoming.message : null;
    if (message?.type === "resume") {
      destination.detach();
      destination.resume(connection, message.messages, stored);
    } else if (message?.type === "join") destination.join(connection, message.stream);
  };
  const source = new SourceLink({
    legId,
    vm: "web1",
    peer: "b",
    connect: async () => main.a,
    reconnect: async () => {
      const pair = await peer.connect();
      made.push(pair);
      void serve(pair.b);
      return pair.a;
    },
    streams,
    bytesPerSecond,
    patience: { timeoutMs: 60_000, beatMs: 1000, silenceMs: 5000 },
    onIncoming: () => {},
    onDelivered: (sequence) => {
      delivered = Math.max(delivered, sequence);
    },
    onChange: () => {},
    onResend: () => {},
    onFailed: (error) => failures.push(error),
    warn: (text) => warnings.push(text),
  });
  await source.open();
  // In place of `prepare`, which the destination's agent takes.
  source.send({ type: "noted" });
  await main.b.next(5000);
  const destination: DestinationLink = new DestinationLink({
    legId,
    connection: main.b,
    timeoutMs: 60_000,
    streams,
    onIncoming: (incoming) => {
      came.push("frame" in incoming ? `${numberOf(incoming.frame)}` : incoming.message.type);
      if (!("frame" in incoming)) return;
      stored = numberOf(incoming.frame);
      destination.acknowledge(stored);
    },
    onGivenUp: (error) => failures.push(error),
    warn: (text) => warnings.push(text),
  });
  t.teardown(() => {
    source.close();
    destination.end();
  });
  let next = 2;
  const allDelivered = () => until(() => delivered === next - 1);
  const send = (count: number) => {
    for (let i = 0; i < count; i++, next++) source.sendFrame(frameOf(next, 50 * 1024), next);
  };
  return {
    ...{ source, destination, made, came, failures, warnings },
    /** Sends frames of 50 KiB. */
    send,
    /** Sends frames until so many connections have carried some. */
    striped: async (count: number) => {
      while (made.filter(({ a }) => a.wireBytes > 60_000).length < count) {
        send(2 * count);
        await allDelivered();
      }
    },
    finish: () => source.send({ type: "finish", root, sequence: next - 1, ageMs: 0 }),
    allDelivered,
    expected: () => ["begin", ...Array.from({ length: next - 2 }, (_, i) => `${i + 2}`), "finish"],
  };
}

t.test("frames over four connections come once and in order, between 'begin' and 'finish'", async (t) => {
  const leg = await stripedLeg(t, 4);
  leg.destination.send({ type: "offer", have: [] });
  leg.source.send(begin);
  await leg.striped(4);
  leg.send(200);
  leg.finish();
  await until(() => leg.came.at(-1) === "finish");
  t.strictSame(leg.came, leg.expected());
  const carried = leg.made.map(({ a }) => a.wireBytes);
  t.ok(
    carried.every((bytes) => bytes > 100_000),
    `each has carried something: ${carried}`,
  );
  t.ok(leg.source.wireBytes >= carried.reduce((sum, bytes) => sum + bytes), "and all of it counts");
  t.strictSame(leg.failures, []);
});

t.test("no further connection joins before the peer has said that it knows the leg", async (t) => {
  const leg = await stripedLeg(t, 2);
  await until(() => leg.made.length === 2);
  leg.source.send(begin);
  leg.send(5);
  await until(() => leg.came.length === 6);
  const before = leg.made[1]?.a.wireBytes ?? 0;
  leg.destination.send({ type: "offer", have: [] });
  leg.send(50);
  await until(() => leg.came.length === 56);
  await until(() => (leg.made[1]?.a.wireBytes ?? 0) > before);
  t.pass("it has joined");
});

t.test(
  "what was on a further connection that is lost goes over the others, and it is dialled again",
  async (t) => {
    const leg = await stripedLeg(t, 3);
    leg.destination.send({ type: "offer", have: [] });
    leg.source.send(begin);
    await leg.striped(3);
    leg.send(100);
    leg.made[1]?.a.fail("the test has cut it");
    leg.send(100);
    await leg.allDelivered();
    await until(() => leg.made.length === 4);
    leg.send(50);
    leg.finish();
    await until(() => leg.came.at(-1) === "finish");
    t.strictSame(leg.came, leg.expected());
    t.equal(leg.source.reconnects, 0);
    t.match(leg.warnings, [/the test has cut it; what was on its way there goes over the other connections/]);
    t.strictSame(leg.failures, []);
  },
);

t.test(
  "a main connection that is lost takes the others with it; all come back, nothing is lost",
  async (t) => {
    const leg = await stripedLeg(t, 3);
    leg.destination.send({ type: "offer", have: [] });
    leg.source.send(begin);
    await leg.striped(3);
    leg.send(100);
    leg.made[0]?.a.fail("the test has cut it");
    t.notOk(leg.source.isUp);
    leg.send(100);
    leg.finish();
    await until(() => leg.source.isUp);
    await until(() => leg.made.length >= 6);
    await until(() => leg.came.at(-1) === "finish");
    t.strictSame(leg.came, leg.expected());
    t.equal(leg.source.reconnects, 1);
    t.ok(leg.source.resentBytes > 0);
    t.notOk(leg.made[1]?.a.isOpen || leg.made[2]?.a.isOpen, "the old ones are gone");
    t.strictSame(leg.failures, []);
  },
);

t.test("all connections together keep to one rate", async (t) => {
  const leg = await stripedLeg(t, 4, 100e6);
  leg.destination.send({ type: "offer", have: [] });
  leg.source.send(begin);
  leg.send(100);
  leg.finish();
  await until(() => leg.came.at(-1) === "finish");
  t.strictSame(leg.came, leg.expected());
  t.equal(leg.source.resentBytes, 0);
});

t.test("a connection with the number of another takes its place; one too many is refused", async (t) => {
  const peer = await listeningPeer(t);
  const main = await peer.connect();
  const failures: Error[] = [];
  const came: string[] = [];
  const link = new DestinationLink({
    legId,
    connection: main.b,
    timeoutMs: 60_000,
    streams: 3,
    onIncoming: (incoming) =>
      came.push("frame" in incoming ? `${numberOf(incoming.frame)}` : incoming.message.type),
    onGivenUp: (error) => failures.push(error),
    warn: () => {},
  });
  t.teardown(() => link.end());
  const [first, second, third] = [await peer.connect(), await peer.connect(), await peer.connect()];
  link.join(first.b, 1);
  t.match(await first.a.expect("joined", 5000), { leg: legId, stream: 1 });
  const gone = new Promise((resolve) => first.a.onLost(resolve));
  link.join(second.b, 1);
  await gone;
  t.throws(() => link.join(third.b, 3), { message: /it has announced 3 connections/ });
  await second.a.expect("joined", 5000);

  second.a.sendFrame(frameOf(2));
  t.match(await second.a.next(5000), { message: { type: "arrived", frames: 1 } });
  t.strictSame(came, [], "nothing goes on before 'begin'");
  main.a.send(begin);
  await until(() => came.length === 2);
  t.strictSame(came, ["begin", "2"]);

  second.a.send({ type: "commit", epoch: 2 });
  await until(() => failures.length > 0);
  t.match(failures, [{ message: /a message came where only frames belong/ }]);
  link.detach();
  t.throws(() => link.join(third.b, 2), { message: /no main connection now/ });
});

t.test(
  "a source that runs too far ahead ends the leg, and so does a peer that has had too much",
  async (t) => {
    const leg = await stripedLeg(t, 2);
    leg.destination.send({ type: "offer", have: [] });
    leg.source.send(begin);
    await until(() => leg.came.length === 1);
    leg.made[0]?.a.sendFrame(frameOf(1_000_000));
    await until(() => leg.failures.length > 0);
    t.match(leg.failures, [{ message: /Cannot accept frame 1000000: 2 is next/ }]);

    const other = await stripedLeg(t, 2);
    other.made[0]?.b.send({ type: "arrived", frames: 3 });
    await until(() => other.failures.length > 0);
    t.match(other.failures, [{ message: /frames have arrived that were never sent/ }]);
  },
);

t.test("with one connection nothing may come out of order", async (t) => {
  const leg = await stripedLeg(t, 1);
  leg.source.send(begin);
  leg.send(3);
  leg.finish();
  await until(() => leg.came.at(-1) === "finish");
  t.strictSame(leg.came, leg.expected());
  t.equal(leg.made.length, 1, "no further one was dialled");
  t.throws(() => leg.destination.join(leg.made[0]?.b as PeerConnection, 1), { message: /announced 1 conn/ });
});

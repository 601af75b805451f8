import { mock } from "node:test";
import t from "tap";
import { type Incoming, maxWebSocketMessage } from "../../cli/wan/connection.ts";
import type { Message } from "../../cli/wan/messages.ts";
import { Pacer } from "../../cli/wan/pacer.ts";
import { endsAs } from "../store/operation-errors.ts";
import { connectionPair } from "./connection-pair.ts";

const ack = (sequence: number): Message => ({ type: "ack", sequence });

/** What arrived as a short text. */
function label(incoming: Incoming): string {
  if ("frame" in incoming) return `frame ${incoming.frame[0]} of ${incoming.frame.length}`;
  const { message } = incoming;
  return message.type === "ack" ? `ack ${message.sequence}` : message.type;
}

for (const rate of [null, 1 << 20]) {
  t.test(`frames and messages arrive in order, ${rate ? "rate limited" : "unlimited"}`, async (t) => {
    const { a, b } = await connectionPair(t);
    if (rate !== null) a.paceWith(new Pacer(rate));
    const expected: string[] = [];
    for (let i = 0; i < 60; i++) {
      if (i % 4 === 0) a.send(ack(i));
      else a.sendFrame(new Uint8Array(1000 + i).fill(i));
      expected.push(i % 4 === 0 ? `ack ${i}` : `frame ${i} of ${1000 + i}`);
    }
    const got: string[] = [];
    for (const _ of expected) got.push(label(await b.next(10_000)));
    t.strictSame(got, expected);
  });
}

t.test("what arrives while nobody asks waits, also for a handler", async (t) => {
  const { a, b } = await connectionPair(t);
  for (let i = 0; i < 5; i++) a.send(ack(i));
  t.equal(label(await b.next(10_000)), "ack 0");
  const got: string[] = [];
  await new Promise<void>((resolve) => {
    b.receiveWith((incoming) => {
      got.push(label(incoming));
      // A handler may hand over in the middle: the rest waits again.
      if (got.length === 2) {
        b.receiveWith(null);
        resolve();
      }
    });
  });
  t.strictSame(got, ["ack 1", "ack 2"]);
  t.equal(label(await b.next(10_000)), "ack 3");
  t.equal(label(await b.next(10_000)), "ack 4");
});

t.test("an abort instead of the answer becomes its error, with its reason", async (t) => {
  const { a, b } = await connectionPair(t);
  b.send({ type: "abort", reason: "refused", message: "not yours" });
  await t.rejects(a.expect("offer", 10_000), { ...endsAs("refused"), message: "Site b ended it: not yours" });
  for (const reason of ["failed", "cancelled"] as const) {
    b.send({ type: "abort", reason, message: "the disk is full" });
    await t.rejects(a.expect("offer", 10_000), { ...endsAs("failed"), message: /the disk is full/ });
  }
});

t.test("another message or a frame instead of the answer is an error that says so", async (t) => {
  const { a, b } = await connectionPair(t);
  b.send(ack(1));
  await t.rejects(a.expect("offer", 10_000), {
    message: "Cannot go on with b: 'ack' came instead of 'offer'",
  });
  b.sendFrame(Uint8Array.of(1));
  await t.rejects(a.expect("offer", 10_000), { message: /'a frame' came instead of 'offer'/ });
});

t.test("silence ends a wait after its time, and the connection stays usable", async (t) => {
  const { a, b } = await connectionPair(t);
  mock.timers.enable({ apis: ["setTimeout"] });
  t.teardown(() => mock.timers.reset());
  const waiting = t.rejects(a.expect("offer", 60_000), {
    ...endsAs("failed"),
    message: "Cannot go on with b: no 'offer' within 60000 ms",
  });
  mock.timers.tick(60_000);
  await waiting;
  mock.timers.reset();
  b.send(ack(7));
  t.equal(label(await a.next(10_000)), "ack 7");
});

t.test("what arrived before the connection was lost comes first, then the loss", async (t) => {
  const { a, b } = await connectionPair(t);
  const lost = new Promise((resolve) => b.onLost(resolve));
  for (let i = 0; i < 3; i++) a.send(ack(i));
  a.sendFrame(Uint8Array.of(9));
  a.close();
  await lost;
  t.notOk(b.isOpen);
  const got: string[] = [];
  for (let i = 0; i < 4; i++) got.push(label(await b.next(10_000)));
  t.strictSame(got, ["ack 0", "ack 1", "ack 2", "frame 9 of 1"]);
  await t.rejects(b.next(10_000), { ...endsAs("failed"), message: /^Lost the connection to a: / });
});

t.test("a wait ends when the connection is lost, and the loss is told once", async (t) => {
  const { a, b } = await connectionPair(t);
  let told = 0;
  const forget = a.onLost(() => t.fail("this listener was taken back"));
  forget();
  a.onLost(() => told++);
  const waiting = t.rejects(a.next(null), /Lost the connection to b: it was enough/);
  a.fail("it was enough");
  a.fail("again");
  await waiting;
  t.equal(told, 1);
  a.onLost((error) => t.match(error.message, /it was enough/, "a late listener is told at once"));
  t.doesNotThrow(() => {
    a.send(ack(1));
    a.sendFrame(Uint8Array.of(1));
  }, "sending does nothing then");
  await t.rejects(b.next(10_000), /Lost the connection to a/);
});

t.test("close sends what the rate still holds back", async (t) => {
  const { a, b } = await connectionPair(t);
  a.paceWith(new Pacer(1000));
  for (let i = 0; i < 20; i++) a.sendFrame(new Uint8Array(5000).fill(i));
  a.send(ack(20));
  a.close();
  for (let i = 0; i < 20; i++) t.equal(label(await b.next(10_000)), `frame ${i} of 5000`);
  t.equal(label(await b.next(10_000)), "ack 20");
});

t.test(
  "bytes on the wire are counted in both directions; anew, but with the handshake, when asked",
  async (t) => {
    const { a, b } = await connectionPair(t);
    const handshake = a.wireBytes;
    t.ok(handshake > 0);
    a.sendFrame(new Uint8Array(100_000));
    await b.next(10_000);
    b.sendFrame(new Uint8Array(50_000));
    await a.next(10_000);
    const counted = a.wireBytes - handshake;
    t.ok(counted >= 150_000 && counted < 151_000, `${counted} bytes for 150000 of content`);
    a.beginCount();
    t.equal(a.wireBytes, handshake);
    a.sendFrame(new Uint8Array(1000));
    await b.next(10_000);
    t.ok(a.wireBytes >= handshake + 1000 && a.wireBytes < handshake + 1100);
    a.beginCount();
    t.equal(a.wireBytes, handshake, "also the second time");
  },
);

t.test("bytes that follow no protocol end the connection, not the program", async (t) => {
  const bad: [string, (send: (data: string | Uint8Array) => void) => void, RegExp][] = [
    ["text that is not JSON", (send) => send("{"), /it is not JSON/],
    ["a message that nobody knows", (send) => send('{"type":"gift"}'), /Cannot read message: type/],
    ["a frame beyond the limit", (send) => send(new Uint8Array(maxWebSocketMessage + 1)), /Max payload/],
  ];
  for (const [what, act, reason] of bad) {
    const { a, b } = await connectionPair(t);
    a.onLost(() => {});
    // Below the checks of `send`: the socket itself.
    const { socket } = a as unknown as { socket: { send: (data: string | Uint8Array) => void } };
    act((data) => socket.send(data));
    await t.rejects(b.next(10_000), { ...endsAs("failed"), message: reason }, what);
    t.notOk(b.isOpen, what);
  }
});

t.test("a round trip is measured; a lost connection has none", async (t) => {
  const { a, b } = await connectionPair(t);
  const found = await Promise.all([a.roundTripMs(10_000), a.roundTripMs(10_000), b.roundTripMs(10_000)]);
  for (const ms of found) t.ok(ms !== null && ms > 0);
  const waiting = a.roundTripMs(10_000);
  a.fail("cut");
  t.equal(await waiting, null);
  t.equal(await a.roundTripMs(10_000), null);
});

import fc from "fast-check";
import t from "tap";
import { Outbox } from "../../cli/leg/outbox.ts";
import type { Message } from "../../cli/wan/messages.ts";

const message: Message = { type: "noted" };

function numbersOf(outbox: Outbox, messages: number, sequence: number): string[] {
  return outbox.after(messages, sequence).map((one) => `${one.message ? "m" : "f"}${one.number}`);
}

t.test("what the peer lacks is given in its order", async (t) => {
  const outbox = new Outbox();
  outbox.addMessage(message);
  outbox.addMessage(message);
  outbox.addFrame(new Uint8Array(3), 2);
  outbox.addFrame(new Uint8Array(3), 3);
  outbox.addMessage(message);
  t.strictSame(numbersOf(outbox, 0, 1), ["m1", "m2", "f2", "f3", "m3"], "to a peer that has nothing");
  t.strictSame(numbersOf(outbox, 2, 2), ["f3", "m3"]);
  t.strictSame(numbersOf(outbox, 3, 3), []);
  t.ok(outbox.isWhole, "nothing was dropped: the leg can begin again");
});

t.test("what is acknowledged is dropped, with the messages before it", async (t) => {
  const outbox = new Outbox();
  outbox.addMessage(message);
  for (let sequence = 2; sequence < 5000; sequence++) outbox.addFrame(new Uint8Array(1), sequence);
  outbox.addMessage(message);
  outbox.acknowledged(1);
  t.ok(outbox.isWhole, "an acknowledgement of the header drops nothing");
  outbox.acknowledged(3000);
  outbox.acknowledged(2000);
  t.notOk(outbox.isWhole);
  t.equal(outbox.after(0, 0).length, 2000, "frames 3001 to 4999 and the message behind them");
  outbox.acknowledged(4999);
  t.strictSame(numbersOf(outbox, 1, 4999), ["m2"], "a message behind the last frame stays");
});

t.test("whatever is lost, the peer has everything once and in order in the end", async () => {
  const sends = fc.array(fc.constantFrom("message", "frame"), { maxLength: 40 });
  const cuts = fc.array(fc.record({ after: fc.nat(50), stored: fc.nat(50) }), { maxLength: 6 });
  fc.assert(
    fc.property(sends, cuts, (plan, losses) => {
      const outbox = new Outbox();
      const sent: string[] = [];
      let sequence = 1;
      let count = 0;
      for (const kind of plan) {
        if (kind === "message") {
          outbox.addMessage(message);
          sent.push(`m${++count}`);
        } else {
          outbox.addFrame(new Uint8Array(1), ++sequence);
          sent.push(`f${sequence}`);
        }
      }
      const there: string[] = [];
      for (const loss of [...losses, { after: sent.length, stored: sent.length }]) {
        const messages = there.filter((one) => one.startsWith("m")).length;
        const frames = 1 + there.filter((one) => one.startsWith("f")).length;
        there.push(...numbersOf(outbox, messages, frames).slice(0, loss.after));
        const stored = 1 + there.filter((one) => one.startsWith("f")).length;
        outbox.acknowledged(Math.min(stored, loss.stored));
      }
      return there.join() === sent.join();
    }),
  );
});

import fc from "fast-check";
import t from "tap";
import { FrameOrder, maxSpreadBytes, maxSpreadFrames } from "../../cli/leg/frame-order.ts";
import type { Incoming } from "../../cli/wan/connection.ts";
import type { Message } from "../../cli/wan/messages.ts";
import { frameOf } from "./numbered-frames.ts";

const begin: Message = {
  type: "begin",
  generation: 1,
  base: null,
  machine: "pc",
  regions: [{ name: "pc.ram", kind: "ram", lengthBytes: 4096 }],
};
const finishAt = (sequence: number): Message => ({
  type: "finish",
  root: "00".repeat(32),
  sequence,
  ageMs: 0,
});

/** What has gone on, in a few letters. */
function words(incoming: readonly Incoming[]): string[] {
  return incoming.map((one) =>
    "message" in one ? one.message.type : `${new DataView(one.frame.buffer).getUint32(8, true)}`,
  );
}

t.test("frames go on in the order of their numbers, none before 'begin'", async (t) => {
  const order = new FrameOrder();
  t.strictSame(words(order.frame(frameOf(3))), []);
  t.strictSame(words(order.frame(frameOf(2))), [], "it came on another connection than 'begin'");
  t.strictSame(words(order.message(begin)), ["begin", "2", "3"]);
  t.strictSame(words(order.frame(frameOf(6))), []);
  t.strictSame(words(order.frame(frameOf(5))), []);
  t.strictSame(words(order.frame(frameOf(4))), ["4", "5", "6"]);
});

t.test("'finish' goes on after the frame that it names; other messages as they come", async (t) => {
  const order = new FrameOrder();
  order.message(begin);
  t.strictSame(words(order.message(finishAt(3))), []);
  t.strictSame(words(order.frame(frameOf(3))), []);
  const abort: Message = { type: "abort", reason: "cancelled", message: "no more" };
  t.strictSame(words(order.message(abort)), ["abort"], "it waits for nothing");
  t.strictSame(words(order.frame(frameOf(4))), [], "a frame behind the last one");
  t.strictSame(words(order.frame(frameOf(2))), ["2", "3", "finish", "4"], "which the leg refuses");

  const all = new FrameOrder();
  all.message(begin);
  all.frame(frameOf(2));
  t.strictSame(words(all.message(finishAt(2))), ["finish"], "all that it names is there");
  t.strictSame(words(all.message(finishAt(9))), []);
  t.strictSame(words(all.message(finishAt(9))), ["finish"], "a second one is not for this to judge");
});

t.test("a frame that comes again is left out, wherever the first one is", async (t) => {
  const order = new FrameOrder();
  order.message(begin);
  order.frame(frameOf(2));
  t.strictSame(words(order.frame(frameOf(2))), [], "it has gone on");
  order.frame(frameOf(4));
  t.strictSame(words(order.frame(frameOf(4))), [], "it waits");
  t.strictSame(words(order.frame(frameOf(3))), ["3", "4"]);
});

t.test("numbers and bytes that wait have limits", async (t) => {
  const order = new FrameOrder();
  order.message(begin);
  t.strictSame(words(order.frame(frameOf(2 + maxSpreadFrames - 1))), [], "as far ahead as may be");
  t.throws(() => order.frame(frameOf(2 + maxSpreadFrames)), { message: /2 is next, and no frame may be/ });
  t.throws(() => order.frame(frameOf(0xffffffff)), { message: /no frame may be/ });
  const bytes = 4 << 20;
  const most = Math.floor(maxSpreadBytes / bytes) - 1;
  for (let i = 0; i < most; i++) order.frame(frameOf(3 + i, bytes));
  t.throws(() => order.frame(frameOf(3 + most, bytes)), { message: /may have 134217728 bytes/ });
  t.equal(order.frame(frameOf(2, bytes)).length, 1 + most, "the next one is always taken");
  t.strictSame(words(order.frame(frameOf(3 + most, bytes))), [`${3 + most}`], "and there is room again");
});

t.test("what is no frame is refused", async (t) => {
  const order = new FrameOrder();
  order.message(begin);
  t.throws(() => order.frame(new Uint8Array(10)), { code: "truncated" });
  t.throws(() => order.frame(frameOf(0)), { message: /sequence 0 is invalid/ });
});

t.test("after a loss only what has gone on counts", async (t) => {
  const order = new FrameOrder();
  order.message(begin);
  order.frame(frameOf(2));
  order.frame(frameOf(4));
  order.message(finishAt(4));
  order.forget();
  t.strictSame(words(order.frame(frameOf(3))), ["3"], "4 is gone");
  t.strictSame(words(order.frame(frameOf(4))), ["4", "finish"], "the message was heard and is kept");
});

t.test("whatever way frames come, they go on once and in order", async () => {
  const count = 30;
  const wanted = Array.from({ length: count }, (_, i) => i + 2);
  fc.assert(
    fc.property(
      fc.shuffledSubarray(wanted, { minLength: count }),
      fc.array(fc.constantFrom(...wanted), { maxLength: 20 }),
      fc.nat(count - 1),
      fc.nat(count),
      (shuffled, again, beginAt, finishAfter) => {
        const order = new FrameOrder();
        const out: string[] = [];
        const all = [...shuffled];
        for (const [i, one] of again.entries()) all.splice((i * 7) % all.length, 0, one);
        for (const [i, sequence] of all.entries()) {
          if (i === beginAt) out.push(...words(order.message(begin)));
          if (i === beginAt + finishAfter) out.push(...words(order.message(finishAt(count + 1))));
          out.push(...words(order.frame(frameOf(sequence))));
        }
        if (beginAt + finishAfter >= all.length) out.push(...words(order.message(finishAt(count + 1))));
        return out.join() === ["begin", ...wanted, "finish"].join();
      },
    ),
  );
});

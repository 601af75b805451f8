import t from "tap";
import { FrameSequence } from "../../src/delta/frame-sequence.ts";

t.test("numbers are given once, one after the other", async (t) => {
  const sequence = new FrameSequence(2);
  t.equal(sequence.next, 2);
  t.strictSame([sequence.take(), sequence.take(), sequence.next, sequence.take()], [2, 3, 4, 4]);
});

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { KeptFrames } from "../../cli/leg/kept-frames.ts";
import type { LegSink } from "../../cli/leg/leg-sink.ts";
import type { Message } from "../../cli/wan/messages.ts";
import { endsAs } from "../store/operation-errors.ts";

const noted: Message = { type: "noted" };
const bytesOf = (...values: number[]) => Uint8Array.from(values);

function recorder() {
  const got: string[] = [];
  const sink: LegSink = {
    send: ({ type }) => got.push(type),
    sendFrame: (frame, sequence) => got.push(`${sequence}: ${[...frame].join(" ")}`),
  };
  return { got, sink };
}

/** A delta as the writer makes it: a header, then what the sink was told of. */
function deltaIn(directory: string, frames: readonly Uint8Array[]): void {
  writeFileSync(join(directory, "delta"), Buffer.concat([bytesOf(99, 99, 99), ...frames]));
}

t.test("what was kept comes first, messages before frames, then everything goes through", async (t) => {
  const directory = t.testdir();
  const frames = [bytesOf(1, 2), bytesOf(3), bytesOf(4, 5, 6)];
  const kept = new KeptFrames();
  kept.send(noted);
  for (const [i, frame] of frames.entries()) kept.sendFrame(frame, i + 2);
  deltaIn(directory, frames);
  t.ok(kept.isAside);
  t.equal(kept.keptBytes, 6);
  const { got, sink } = recorder();
  const told: string[] = [];
  await kept.deliver(
    sink,
    directory,
    async () => {},
    (sequence, bytes) => told.push(`${sequence} ${bytes}`),
  );
  t.strictSame(got, ["noted", "2: 1 2", "3: 3", "4: 4 5 6"]);
  t.strictSame(told, ["2 2", "3 1", "4 3"]);
  t.notOk(kept.isAside);
  kept.sendFrame(bytesOf(7), 5);
  kept.send(noted);
  t.strictSame(got.slice(4), ["5: 7", "noted"]);
  t.equal(kept.keptBytes, 6, "what went through was not kept");
});

t.test("frames that come while others are delivered keep their place", async (t) => {
  const directory = t.testdir();
  const frames = [bytesOf(1), bytesOf(2)];
  const kept = new KeptFrames();
  for (const [i, frame] of frames.entries()) kept.sendFrame(frame, i + 2);
  deltaIn(directory, frames);
  const { got, sink } = recorder();
  const room = async () => {
    if (got.length !== 1) return;
    kept.sendFrame(bytesOf(3), 4);
    deltaIn(directory, [...frames, bytesOf(3)]);
  };
  await kept.deliver(sink, directory, room, () => {});
  t.strictSame(got, ["2: 1", "3: 2", "4: 3"]);
});

t.test("a file that has become shorter is no reason to send anything else", async (t) => {
  const directory = t.testdir();
  const kept = new KeptFrames();
  kept.sendFrame(bytesOf(1, 2, 3), 2);
  deltaIn(directory, [bytesOf(1, 2, 3)]);
  const { got, sink } = recorder();
  const room = async () => writeFileSync(join(directory, "delta"), "");
  await t.rejects(
    kept.deliver(sink, directory, room, () => {}),
    endsAs("failed"),
  );
  t.strictSame(got, []);
});

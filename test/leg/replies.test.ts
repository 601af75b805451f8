import { mock } from "node:test";
import t from "tap";
import { Replies } from "../../cli/leg/replies.ts";
import { endsAs } from "../store/operation-errors.ts";

const prepared = { type: "prepared", root: "7".repeat(64) } as const;
const running = { type: "running", epoch: 3 } as const;

t.test("an answer is there whether it came before or after it was asked for", async (t) => {
  const replies = new Replies("b");
  replies.put(prepared);
  t.strictSame(await replies.wait("prepared", 10_000), prepared);
  const waiting = replies.wait("running", 10_000);
  replies.put(running);
  t.strictSame(await waiting, running);
});

t.test("an answer to something else does not end a wait", async (t) => {
  const replies = new Replies("b");
  const waiting = replies.wait("running", 10_000);
  replies.put(prepared);
  replies.put(running);
  t.strictSame(await waiting, running);
  t.strictSame(await replies.wait("prepared", 10_000), prepared, "it is kept until somebody asks");
});

t.test("a peer that does not answer is named when its time is over", async (t) => {
  mock.timers.enable({ apis: ["setTimeout"] });
  t.teardown(() => mock.timers.reset());
  const replies = new Replies("b");
  const waiting = t.rejects(replies.wait("prepared", 5000), {
    ...endsAs("failed"),
    message: "b sent no 'prepared' within 5000 ms",
  });
  mock.timers.tick(5000);
  await waiting;
  replies.put(prepared);
  t.strictSame(await replies.wait("prepared", 5000), prepared, "one that comes late is still there");
});

t.test("an answer in time leaves no timer behind", async (t) => {
  mock.timers.enable({ apis: ["setTimeout"] });
  t.teardown(() => mock.timers.reset());
  const replies = new Replies("b");
  const waiting = replies.wait("prepared", 5000);
  replies.put(prepared);
  mock.timers.tick(10_000);
  t.strictSame(await waiting, prepared);
});

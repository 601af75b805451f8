import { once } from "node:events";
import { createServer } from "node:http";
import { join } from "node:path";
import t, { type Test } from "tap";
import type { Facts } from "../../cli/agent/doctor.ts";
import { judge } from "../../cli/agent/doctor-verdict.ts";
import { shortFolder } from "../agent/agent-fixture.ts";
import { jsonLines, runProgram } from "./program.ts";

const facts: Facts = {
  vm: "web1",
  site: "a",
  ownership: {
    format: 1,
    vm: "web1",
    state: "released",
    epoch: 4,
    generation: 2,
    peer: "b",
    refusedEpoch: 0,
  },
  qemu: "paused",
  activity: null,
  peers: [{ site: "b", problem: "Cannot reach site b", says: null }],
  generations: [
    { generation: 2, seed: false, createdAt: "2026-01-02T03:04:05.000Z", ageMs: 5000, checked: true },
  ],
  branches: [],
  fencing: null,
  damage: [],
  leftovers: [],
};

/** A control socket that answers everything with one line. */
async function answering(t: Test, line: object): Promise<string> {
  const path = join(await shortFolder(t), "control.sock");
  const server = createServer((request, response) => {
    request.resume();
    response.end(`${JSON.stringify(line)}\n`);
  });
  server.listen(path);
  await once(server, "listening");
  t.teardown(() => server.close());
  return path;
}

t.test("the doctor tells what is known and what can be done, and ends with the verdict's code", async (t) => {
  const control = await answering(t, { event: "done", ...facts, ...judge(facts) });
  const end = await runProgram(["doctor", "web1", "--control", control]);
  t.equal(end.code, 4);
  t.match(end.out, /^web1 at a: in-doubt\n/);
  t.match(end.out, /was handed over from a to b/);
  t.match(end.out, /site b says +no answer/);
  t.match(
    end.out,
    /What can be done:\n- wait until b can be reached[\s\S]*\n {4}bfmig recover web1 --force\n/,
  );
  const json = await runProgram(["doctor", "web1", "--control", control, "--json"]);
  t.equal(json.code, 4);
  t.match(jsonLines(json), [{ event: "done", verdict: "in-doubt", code: 4, ownership: { epoch: 4 } }]);
});

t.test("a healthy VM ends with 0, a damaged one with 1, a forked one with 6", async (t) => {
  const owned = {
    ...facts,
    ownership: facts.ownership && { ...facts.ownership, state: "owned" as const },
    peers: [],
  };
  for (const [code, one] of [
    [0, { ...owned, qemu: "running" as const }],
    [1, { ...owned, damage: ["a file is missing"] }],
    [6, { ...owned, peers: [{ site: "b", problem: null, says: { state: "owned" as const, epoch: 9 } }] }],
  ] as const) {
    const control = await answering(t, { event: "done", ...one, ...judge(one) });
    t.equal((await runProgram(["doctor", "web1", "--control", control])).code, code);
  }
});

import t, { type Test } from "tap";
import { endLeftJobs, runBlockJob } from "../../cli/disk/block-job.ts";
import { QmpClient } from "../../cli/qemu/qmp-client.ts";
import { fakeQmpServer, idOf } from "../qemu/fake-qmp-server.ts";
import { endsAs } from "../store/operation-errors.ts";

interface Told {
  readonly execute: string;
  readonly arguments?: Record<string, unknown>;
}

/** A QEMU whose job passes through `states`, one each time it is asked, and stays in the last one. */
async function qemuWithJob(t: Test, states: readonly object[][], refused: readonly string[] = []) {
  const told: Told[] = [];
  let asked = 0;
  const path = await fakeQmpServer(t, (line, socket) => {
    const { execute, arguments: given } = JSON.parse(line) as Told;
    told.push({ execute, arguments: given });
    if (refused.includes(execute)) {
      const error = { class: "GenericError", desc: "Job 'job' in state 'concluded' cannot accept it" };
      socket.write(`${JSON.stringify({ error, id: idOf(line) })}\n`);
      return;
    }
    const jobs = execute === "query-jobs" ? states[Math.min(asked++, states.length - 1)] : {};
    socket.write(`${JSON.stringify({ return: jobs, id: idOf(line) })}\n`);
  });
  const qmp = await QmpClient.connect(path);
  t.teardown(() => qmp.close());
  return { qmp, told };
}

const other = { id: "other", status: "running" };
const running = { id: "job", status: "running" };
const concluded = { id: "job", status: "concluded" };
const names = (told: readonly Told[]) => told.map(({ execute }) => execute);

t.test("a job is started, watched to its end and dismissed", async (t) => {
  const { qmp, told } = await qemuWithJob(t, [[other, running], [running], [other, concluded]]);
  t.equal(await runBlockJob(qmp, "job", "block-commit", { device: "disk0", speed: 7 }), true);
  t.strictSame(told[0], {
    execute: "block-commit",
    arguments: { "job-id": "job", device: "disk0", speed: 7 },
  });
  t.strictSame(names(told).slice(1), ["query-jobs", "query-jobs", "query-jobs", "job-dismiss"]);
  t.strictSame(told.at(-1)?.arguments, { id: "job" });
});

t.test("a job that failed is dismissed too, and its error told", async (t) => {
  const failed = { ...concluded, error: "No space left on device" };
  const { qmp, told } = await qemuWithJob(t, [[running], [failed]]);
  await t.rejects(runBlockJob(qmp, "job", "block-commit", {}), {
    ...endsAs("failed"),
    message: "QEMU's job block-commit failed: No space left on device",
  });
  t.equal(told.at(-1)?.execute, "job-dismiss");
});

t.test("a job that is gone is no success", async (t) => {
  const { qmp } = await qemuWithJob(t, [[running], [other]]);
  await t.rejects(runBlockJob(qmp, "job", "block-commit", {}), {
    ...endsAs("failed"),
    message: /it is gone/,
  });
});

t.test("a job that is not wanted any more is cancelled once, and waited for", async (t) => {
  const cancelled = { ...concluded, error: "Operation was cancelled" };
  const { qmp, told } = await qemuWithJob(t, [[running], [running], [running], [cancelled]]);
  let asked = 0;
  t.equal(await runBlockJob(qmp, "job", "block-commit", {}, () => ++asked < 2), false);
  t.equal(names(told).filter((name) => name === "job-cancel").length, 1);
  t.equal(told.at(-1)?.execute, "job-dismiss");
  t.equal(asked, 2, "it is not asked again");
});

t.test("a job that ends before it can be cancelled has done its work and is dismissed", async (t) => {
  const { qmp, told } = await qemuWithJob(t, [[running], [running], [concluded]], ["job-cancel"]);
  t.equal(await runBlockJob(qmp, "job", "block-commit", {}, () => false), true);
  t.strictSame(names(told).slice(1), ["query-jobs", "job-cancel", "query-jobs", "query-jobs", "job-dismiss"]);
});

t.test("jobs that somebody has left are ended and forgotten, others are not touched", async (t) => {
  const { qmp, told } = await qemuWithJob(t, [[other, running], [other, concluded], [other]]);
  await endLeftJobs(qmp, "jo");
  t.strictSame(
    told.map(({ execute, arguments: given }) => [execute, given?.id]),
    [
      ["query-jobs", undefined],
      ["job-cancel", "job"],
      ["query-jobs", undefined],
      ["job-dismiss", "job"],
      ["query-jobs", undefined],
    ],
  );
});

t.test("a command that QEMU refuses starts nothing", async (t) => {
  const path = await fakeQmpServer(t, (line, socket) => {
    const error = { class: "GenericError", desc: "Node is busy" };
    socket.write(`${JSON.stringify({ error, id: idOf(line) })}\n`);
  });
  const qmp = await QmpClient.connect(path);
  t.teardown(() => qmp.close());
  await t.rejects(runBlockJob(qmp, "job", "block-commit", {}), /Node is busy/);
});

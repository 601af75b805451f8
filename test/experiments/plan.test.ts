import t from "tap";
import { estimateSessionMs } from "../../cli/experiments/estimate.ts";
import {
  type Experiment,
  experimentKey,
  experimentName,
  experimentOf,
  isOwn,
  isReturn,
  linkLabel,
  missingOf,
  type PlanOptions,
  planSessions,
} from "../../cli/experiments/plan.ts";
import { type ExperimentRecord, methods, workloads } from "../../cli/experiments/record.ts";
import { recordOf } from "./records.ts";

const full: PlanOptions = {
  quick: false,
  workloads: null,
  links: null,
  methods: null,
  memoriesMiB: null,
  ages: null,
  awaysMs: null,
  repeats: 2,
};
const quick: PlanOptions = { ...full, quick: true, repeats: 1 };
/** Standing migrations are measured with few workloads: they change how the first pass is read, not what is sent. */
const hasMethod = (workload: Experiment["workload"], method: Experiment["method"]) =>
  method !== "bfmig-standing" || ["idle", "web", "redis"].includes(workload);
const runsOf = (options: PlanOptions) => planSessions(options).flatMap(({ experiments }) => experiments);

t.test("the full plan has every workload by every method over every link, each run once", async (t) => {
  const runs = runsOf(full);
  t.equal(new Set(runs.map(experimentKey)).size, runs.length);
  for (const workload of workloads) {
    for (const method of methods) {
      const links = runs.filter((run) => run.workload === workload && run.method === method);
      t.strictSame(
        [...new Set(links.map(({ link }) => linkLabel(link)))].sort(),
        hasMethod(workload, method) ? ["100/40", "1000/10", "50/200"] : [],
        `${workload} ${method}`,
      );
    }
  }
  t.ok(runs.every(({ method, awayMs }) => isReturn(method) === (awayMs !== null)));
  t.ok(runs.every((run) => (run.workload === "dirtier") === (run.dirtyPagesPerSecond !== null)));
  const half = runs.length / 2;
  t.ok(
    runs.every(({ repeat }, i) => repeat === (i < half ? 1 : 2)),
    "whole repeats, one after the other",
  );
});

t.test("a part of the plan: sizes, ages, and other times away", async (t) => {
  const runs = runsOf({
    ...{ ...full, workloads: ["idle", "web"], memoriesMiB: [1024], ages: ["aged"] },
    awaysMs: [20_000],
    repeats: 1,
  });
  t.ok(runs.length > 0);
  t.ok(runs.every(({ memoryMiB, age }) => memoryMiB === 1024 && age === "aged"));
  const aways = new Set(runs.filter((run) => isReturn(run.method)).map((run) => run.awayMs));
  t.strictSame([...aways], [20_000]);
  const large = runsOf({ ...quick, memoriesMiB: [512] });
  t.ok(large.every(({ memoryMiB }) => memoryMiB === 512));
  t.ok(
    large.some(({ workload }) => workload === "web"),
    "also what is not made unless asked for",
  );
  t.strictSame(runsOf({ ...quick, memoriesMiB: [77] }), []);
});

t.test("a session has one guest and one way to move it, the first leg before the ways back", async (t) => {
  for (const { experiments } of planSessions(full)) {
    const [first] = experiments as [Experiment];
    const guests = experiments.map(({ workload, memoryMiB, age, dirtyPagesPerSecond, repeat }) =>
      JSON.stringify([workload, memoryMiB, age, dirtyPagesPerSecond, repeat]),
    );
    t.equal(new Set(guests).size, 1);
    t.ok(experiments.every(({ method }) => isOwn(method) === isOwn(first.method)));
    if (!isOwn(first.method)) continue;
    t.equal(new Set(experiments.map(({ link }) => linkLabel(link))).size, 1);
    const standing = experiments.filter(({ method }) => method === "bfmig-standing");
    if (standing.length > 0) {
      t.equal(standing.length, experiments.length, "a VM has a standing migration or has none");
      continue;
    }
    t.equal(first.method, "bfmig-first");
    t.ok(experiments.slice(1).every(({ method }) => method === "bfmig-return"));
  }
});

t.test("the quick plan is small, and has what is asked for", async (t) => {
  const estimateMs = planSessions(quick).reduce(
    (sum, { experiments }) => sum + estimateSessionMs(experiments),
    0,
  );
  t.ok(estimateMs < 600_000, `${estimateMs} ms`);
  const named = runsOf({ ...quick, workloads: ["web"], methods: ["xbzrle", "bfmig-first"] });
  t.strictSame([...new Set(named.map(({ workload }) => workload))], ["web"]);
  t.strictSame(
    named.map(({ method }) => method),
    ["xbzrle", "bfmig-first"],
  );
  const link = { bitsPerSecond: 20e6, rttMs: 100 };
  t.ok(runsOf({ ...quick, links: [link] }).every((run) => run.link === link));
  for (const workload of workloads) t.not(runsOf({ ...quick, workloads: [workload] }).length, 0, workload);
});

t.test("runs that were made are not missing", async (t) => {
  const session = planSessions(full).find(({ experiments }) => experiments[0]?.method === "bfmig-first");
  const runs = session?.experiments ?? [];
  const made = (...records: ExperimentRecord[]) =>
    new Map(records.map((record) => [experimentKey(experimentOf(record)), record]));
  const missing = (...records: ExperimentRecord[]) =>
    missingOf({ experiments: runs }, made(...records)).map(({ method, awayMs }) => `${method} ${awayMs}`);
  const [first, ten, minute] = runs as [Experiment, Experiment, Experiment];
  t.strictSame(missing(), [
    "bfmig-first null",
    "bfmig-return 10000",
    "bfmig-return 60000",
    "bfmig-return 300000",
  ]);
  t.strictSame(missing(recordOf(first), recordOf(minute)), ["bfmig-return 10000", "bfmig-return 300000"]);
  t.strictSame(
    missing(recordOf(first), recordOf(ten, { converged: false })),
    [],
    "what comes after a leg of ours that did not converge cannot be made",
  );
  t.strictSame(missing(recordOf({ ...first, repeat: 2 })).length, 4, "another repeat is another run");
  const qemu = planSessions(full)[0]?.experiments ?? [];
  const given = made(...qemu.slice(0, 1).map((run) => recordOf(run, { converged: false })));
  t.equal(
    missingOf({ experiments: qemu }, given).length,
    qemu.length - 1,
    "after QEMU's the others are made",
  );
});

t.test("a run has a name for people", async (t) => {
  const run = { workload: "dirtier", dirtyPagesPerSecond: 500, memoryMiB: 256, age: "fresh" } as const;
  const link = { bitsPerSecond: 50e6, rttMs: 200 };
  t.equal(
    experimentName({ ...run, link, method: "bfmig-return", awayMs: 10_000, repeat: 1 }),
    "dirtier 500/s, 256 MiB fresh, 50/200, bfmig-return after 10 s",
  );
});

import t from "tap";
import { agreement, type SiteSurvey, type Survey } from "./survey.ts";

function site(
  ownership: string,
  qemu: "runs" | "still" | "none",
  changes: Partial<NonNullable<SiteSurvey["agent"]>> = {},
): SiteSurvey {
  const hasQemu = qemu !== "none";
  const agent = { ownership, epoch: 1, running: hasQemu, activity: null, newestGeneration: 1, ...changes };
  return { agent, hasQemu, runs: qemu === "runs" };
}

const cases: readonly (readonly [string, Survey, ReturnType<typeof agreement>])[] = [
  ["it runs at its owner", { a: site("away", "none"), b: site("owned", "runs") }, { owner: "b", runs: true }],
  ["nobody else knows it", { a: site("owned", "runs"), b: site("none", "none") }, { owner: "a", runs: true }],
  ["its QEMU was killed", { a: site("owned", "none"), b: site("away", "none") }, { owner: "a", runs: false }],
  ["it stands still at its owner", { a: site("owned", "still"), b: site("away", "none") }, null],
  ["the handover is in doubt", { a: site("released", "still"), b: site("owned", "runs") }, null],
  ["two sites own it", { a: site("owned", "runs"), b: site("owned", "none") }, null],
  ["no site owns it", { a: site("away", "none"), b: site("none", "none") }, null],
  ["a QEMU is left where it is not", { a: site("away", "still"), b: site("owned", "runs") }, null],
  [
    "something goes on",
    { a: site("owned", "runs", { activity: "migrate rounds" }), b: site("none", "none") },
    null,
  ],
  [
    "the agent has not found it again",
    { a: site("owned", "runs", { running: false }), b: site("none", "none") },
    null,
  ],
  [
    "an agent does not answer",
    { a: site("owned", "runs"), b: { agent: null, hasQemu: false, runs: false } },
    null,
  ],
];

for (const [name, sites, expected] of cases) {
  t.test(`${name}: ${expected === null ? "no agreement" : "agreement"}`, async (t) => {
    t.strictSame(agreement(sites), expected);
  });
}

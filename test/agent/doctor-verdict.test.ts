import t from "tap";
import type { Facts, GenerationFinding, PeerFinding } from "../../cli/agent/doctor.ts";
import { judge } from "../../cli/agent/doctor-verdict.ts";
import type { OwnershipRecord } from "../../cli/store/ownership.ts";

const owned = (epoch: number): OwnershipRecord => {
  return { format: 1, vm: "web1", state: "owned", epoch, generation: 2, peer: "b", refusedEpoch: 0 };
};
const peer = (state: OwnershipRecord["state"], epoch: number): PeerFinding => {
  return { site: "b", problem: null, says: { state, epoch } };
};
const healthy: Facts = {
  vm: "web1",
  site: "a",
  ownership: owned(3),
  qemu: "running",
  activity: null,
  peers: [peer("away", 3)],
  generations: [
    { generation: 2, seed: false, createdAt: "2026-01-02T03:04:05.000Z", ageMs: 5000, checked: true },
  ],
  branches: [],
  fencing: null,
  damage: [],
  leftovers: [],
};
const branch = {
  name: "3-b",
  epoch: 3,
  by: { site: "b", epoch: 5 },
  createdAt: "2026-01-02T03:04:05.000Z",
  ageMs: 60_000,
  generation: 2,
  memory: true,
  disks: [],
  diskBytes: 1,
  problem: null,
};

/** Verdict, exit code, all that is explained, and the commands offered. */
function told(changes: Partial<Facts>) {
  const { verdict, code, explanation, ways } = judge({ ...healthy, ...changes });
  return { verdict, code, text: explanation.join("\n"), commands: ways.map(({ command }) => command) };
}

t.test("a VM that runs here and is claimed by nobody else is healthy", async (t) => {
  t.match(told({}), { verdict: "healthy", code: 0, text: /is a's \(epoch 3\) and runs here/, commands: [] });
});

t.test("a seed is no generation that could be restarted", async (t) => {
  const [restartable] = healthy.generations as [GenerationFinding];
  const seed = { ...restartable, generation: 3, seed: true, ageMs: 1000 };
  const both = told({ qemu: "none", generations: [restartable, seed] });
  t.match(
    both.text,
    /Generation 3 is a seed, 1\.00 s old.*\nThe newest generation here that can be restarted is 2/,
  );
  t.strictSame(both.commands, ["bfmig recover web1", "bfmig start web1"]);
  const only = told({ qemu: "none", generations: [seed] });
  t.notMatch(only.text, /newest generation/);
  t.strictSame(only.commands, ["bfmig start web1"], "there is nothing to recover");
});

t.test("a VM that does not run here can be recovered or started", async (t) => {
  t.match(told({ qemu: "none" }), {
    verdict: "stopped",
    code: 0,
    commands: ["bfmig recover web1", "bfmig start web1"],
  });
  t.match(told({ qemu: "paused" }), { verdict: "stopped", code: 0, text: /is paused here/ });
});

t.test("a VM elsewhere: the site that has it is asked first, force is for one that is lost", async (t) => {
  const ownership = { ...owned(4), state: "away" as const };
  t.match(told({ ownership, qemu: "none", peers: [peer("owned", 4)] }), {
    verdict: "elsewhere",
    code: 0,
    text: /is at b, which says so/,
    commands: ["bfmig migrate web1 --to a", "bfmig recover web1 --force"],
  });
  const away = { site: "b", problem: "no connection", says: null };
  t.match(told({ ownership, qemu: "none", peers: [away] }), {
    text: /no site that answers says[\s\S]*b cannot be asked now/,
  });
});

t.test("in doubt: waiting is safe, force is for a peer that is lost", async (t) => {
  t.match(told({ ownership: { ...owned(4), state: "released" }, qemu: "paused" }), {
    verdict: "in-doubt",
    code: 4,
    text: /handed over from a to b[\s\S]*nothing is lost/,
    commands: [null, "bfmig recover web1 --force"],
  });
});

t.test("a rival with a newer epoch, an older one, or the same name", async (t) => {
  t.match(told({ peers: [peer("owned", 5)] }), {
    verdict: "forked",
    code: 6,
    text: /newer claim \(epoch 5, here 3\)/,
  });
  t.match(told({ peers: [peer("owned", 2)] }), {
    verdict: "forked",
    code: 6,
    text: /its copy stops when it hears/,
  });
  t.match(told({ ownership: owned(1), peers: [peer("owned", 1)] }), {
    verdict: "forked",
    text: /two VMs have one name/,
  });
});

t.test("a branch: which copy is where, and how to keep either", async (t) => {
  const ownership = { ...owned(5), state: "away" as const };
  t.match(told({ ownership, qemu: "none", peers: [peer("owned", 5)], branches: [branch] }), {
    verdict: "forked",
    code: 6,
    text: /Branch 3-b: .*with its memory.*generation 2[\s\S]*at b, which says so/,
    commands: [
      "bfmig inspect STORE/web1/branches/3-b/manifest.json",
      "bfmig prune web1 --branch 3-b",
      "bfmig recover web1 --branch 3-b --force",
    ],
  });
  t.match(
    told({ branches: [branch] }).commands.at(-1),
    /stop web1 --force; bfmig recover web1 --branch 3-b$/,
  );
});

t.test("a fencing that is not complete", async (t) => {
  const fencing = {
    format: 1,
    epoch: 3,
    by: { site: "b", epoch: 5 },
    generation: 2,
    branch: "3-b",
    startedAt: "",
  } as const;
  const ownership = { ...owned(5), state: "away" as const };
  t.match(told({ ownership, fencing }), {
    verdict: "forked",
    code: 6,
    text: /keeping its state as branch 3-b is not complete/,
  });
});

t.test("damage is told, but who has the VM comes first", async (t) => {
  t.match(told({ damage: ["a file is missing"] }), {
    verdict: "damaged",
    code: 1,
    text: /Damaged: a file is missing/,
  });
  t.match(told({ damage: ["x"], branches: [branch] }), { verdict: "forked", code: 6, text: /Damaged: x/ });
  t.match(told({ ownership: null }), { verdict: "damaged", code: 1, text: /not known who may run it/ });
  t.match(told({ leftovers: ["x"] }), { verdict: "healthy", text: /1 files or folders were left/ });
});

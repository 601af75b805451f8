/** What a VM's condition means, and the safe ways out of it. Pure functions over facts. */

import { formatTime } from "../config/units.ts";
import { ExitCode } from "../errors.ts";
import { overrules } from "../store/overruling.ts";
import type { Facts, PeerFinding } from "./doctor.ts";

/**
 * `healthy`: it runs here. `stopped`: it is this site's, and does not run. `elsewhere`: another site has it. `never-here`:
 * it was never owned here. `in-doubt`: a handover is not confirmed. `forked`: there are, or were, two copies.
 * `damaged`: something of it cannot be used.
 */
export type Verdict = "healthy" | "stopped" | "elsewhere" | "never-here" | "in-doubt" | "forked" | "damaged";

/** Something that can be done. */
export interface WayOut {
  /** When, and what it means. */
  readonly what: string;
  /** What to type; null if nothing is to be typed. */
  readonly command: string | null;
}

/** What is to be told. */
export interface Judgement {
  readonly verdict: Verdict;
  readonly code: number;
  readonly explanation: readonly string[];
  readonly ways: readonly WayOut[];
}

const codes: Readonly<Record<Verdict, number>> = {
  healthy: ExitCode.done,
  stopped: ExitCode.done,
  elsewhere: ExitCode.done,
  "never-here": ExitCode.done,
  "in-doubt": ExitCode.inDoubt,
  forked: ExitCode.refused,
  damaged: ExitCode.failed,
};

/** Judges a VM. Who has it comes before what is damaged. */
export function judge(facts: Facts): Judgement {
  const explanation: string[] = [];
  const ways: WayOut[] = [];
  const verdict = explain(facts, explanation, ways);
  const silent = facts.peers.filter(({ problem }) => problem !== null);
  for (const { site, problem } of silent) explanation.push(`${site} cannot be asked now: ${problem}`);
  for (const problem of facts.damage) explanation.push(`Damaged: ${problem}`);
  if (facts.damage.length > 0) {
    ways.push({ what: "find out all that is damaged, offline:", command: "bfmig verify STORE" });
  }
  if (facts.leftovers.length > 0) {
    explanation.push(
      `${facts.leftovers.length} files or folders were left by something interrupted; the agent removes them when it starts, ` +
        "and before a leg arrives",
    );
  }
  return { verdict, code: codes[verdict], explanation, ways };
}

function explain(facts: Facts, explanation: string[], ways: WayOut[]): Verdict {
  const { ownership, vm, fencing } = facts;
  if (ownership === null) {
    explanation.push(`The ownership record of ${vm} cannot be read: it is not known who may run it.`);
    ways.push({
      what: "find out at the other sites who has it; then restore the file, or remove it where another site has the VM:",
      command: `bfmig doctor ${vm}`,
    });
    return "damaged";
  }
  if (ownership.state === "released") return inDoubt(facts, explanation, ways);
  const rivals = rivalsOf(facts);
  if (rivals.length > 0 || fencing !== null || facts.branches.length > 0) {
    return forked(facts, rivals, explanation, ways);
  }
  if (facts.damage.length > 0) return plain(facts, explanation, ways) && "damaged";
  return plain(facts, explanation, ways);
}

function inDoubt(facts: Facts, explanation: string[], ways: WayOut[]): Verdict {
  const { vm, site, ownership, qemu } = facts;
  const peer = ownership?.peer ?? "";
  const asked = facts.peers.find((one) => one.site === peer);
  explanation.push(
    `${vm} was handed over from ${site} to ${peer} (epoch ${ownership?.epoch}), and ${peer} has not said that it took it.`,
    qemu === "none"
      ? "Its QEMU here is gone; what was handed over is kept here as a generation if the agent came to it."
      : "It stands still here, complete: nothing is lost, and it does not run twice.",
  );
  if (asked?.says) explanation.push(`${peer} answers now: ${sayingOf(asked)}.`);
  ways.push(
    {
      what: `wait until ${peer} can be reached: this agent asks it every two seconds, and takes the VM back or lets it go`,
      command: null,
    },
    {
      what:
        `only if ${peer} is lost for good: fence it (make sure that it can never run ${vm} again), then let the VM go on here` +
        `${qemu === "none" ? "" : " with nothing lost"}:`,
      command: `bfmig recover ${vm} --force`,
    },
  );
  return "in-doubt";
}

/** Peers that say that they have a VM which this site has too. */
function rivalsOf({ ownership, peers }: Facts): PeerFinding[] {
  if (ownership?.state !== "owned") return [];
  return peers.filter(({ says, site }) => {
    if (says === null) return false;
    return says.state === "owned" || overrules({ site, ...says }, ownership, "");
  });
}

function forked(
  facts: Facts,
  rivals: readonly PeerFinding[],
  explanation: string[],
  ways: WayOut[],
): Verdict {
  const { vm, site, ownership, fencing, branches } = facts;
  if (ownership === null) return "damaged";
  for (const rival of rivals) explanation.push(rivalry(facts, rival));
  if (fencing !== null) {
    explanation.push(
      `${fencing.by.site} has taken ${vm} over (epoch ${fencing.by.epoch}). It is stopped here, but keeping its state as branch ` +
        `${fencing.branch} is not complete: the agent goes on when it starts and when a peer connects.`,
    );
    ways.push({ what: "see in the agent's log why it is not complete (a full disk?)", command: null });
  }
  for (const branch of branches) {
    const what = branch.memory
      ? "with its memory"
      : `disks only${branch.problem ? ` (${branch.problem})` : ""}`;
    explanation.push(
      `Branch ${branch.name}: what ${vm} was here when ${branch.by.site} had taken it over, ${formatTime(branch.ageMs)} ago, ${what}; ` +
        `it had run from generation ${branch.generation || "none"} with epoch ${branch.epoch}.`,
    );
  }
  explanation.push(whereItIs(facts));
  const [newest] = [...branches].reverse();
  if (newest) {
    ways.push(
      {
        what: `look into a branch; its folder is STORE/${vm}/branches/${newest.name}:`,
        command: newest.memory
          ? `bfmig inspect STORE/${vm}/branches/${newest.name}/manifest.json`
          : `bfmig generations ${vm}`,
      },
      {
        what: `keep the VM as it runs ${ownership.state === "owned" ? "here" : `at ${ownership.peer}`}, and give up a branch:`,
        command: `bfmig prune ${vm} --branch ${newest.name}`,
      },
      {
        what:
          ownership.state === "owned"
            ? "keep a branch instead: stop the VM here, then restart the branch:"
            : `keep a branch instead: the VM at ${ownership.peer} is stopped when it hears of it, and becomes a branch there:`,
        command:
          ownership.state === "owned"
            ? `bfmig stop ${vm} --force; bfmig recover ${vm} --branch ${newest.name}`
            : `bfmig recover ${vm} --branch ${newest.name} --force`,
      },
    );
  } else if (rivals.length > 0) {
    ways.push({
      what: `see how the VM is at ${rivals.map((one) => one.site).join(" and ")}:`,
      command: `bfmig doctor ${vm}`,
    });
  }
  if (rivals.length > 0 && ownership.state === "owned") {
    ways.push({
      what: `if this copy is not to run, stop it at ${site}:`,
      command: `bfmig stop ${vm} --force`,
    });
  }
  return "forked";
}

function rivalry({ vm, site, ownership }: Facts, rival: PeerFinding): string {
  const own = { state: "owned", epoch: ownership?.epoch ?? 0 } as const;
  const says = rival.says ?? { state: "none", epoch: 0 };
  if (overrules({ site: rival.site, ...says }, own, site)) {
    return `${rival.site} has a newer claim (epoch ${says.epoch}, here ${own.epoch}): ${vm} is stopped here as soon as the agent acts on it.`;
  }
  if (says.epoch === own.epoch && own.epoch === 1) {
    return `${rival.site} has a VM of this name that was started there by itself: two VMs have one name. Rename one of them.`;
  }
  return `${rival.site} says that it has ${vm} too (epoch ${says.epoch}, here ${own.epoch}): its copy stops when it hears of this one.`;
}

function plain(facts: Facts, explanation: string[], ways: WayOut[]): Verdict {
  const { vm, ownership, qemu, generations } = facts;
  explanation.push(whereItIs(facts));
  const newest = generations.findLast(({ seed }) => !seed);
  const last = generations.at(-1);
  if (last?.seed) {
    explanation.push(
      `Generation ${last.generation} is a seed, ${formatTime(last.ageMs)} old: the next leg builds on it, and it cannot be restarted.`,
    );
  }
  if (newest) {
    explanation.push(
      `The newest generation here${last?.seed ? " that can be restarted" : ""} is ${newest.generation}, ${formatTime(newest.ageMs)} old` +
        `${newest.checked ? "" : "; it was touched since it was checked, and is checked before it is used"}.`,
    );
  }
  switch (ownership?.state) {
    case "owned":
      if (qemu === "running") return "healthy";
      if (qemu === "none") {
        if (newest)
          ways.push({ what: "restart it from the newest generation:", command: `bfmig recover ${vm}` });
        ways.push({
          what: "start it with empty memory from its newest disks:",
          command: `bfmig start ${vm}`,
        });
      } else
        ways.push({
          what: "its QEMU does not run it: let it go on with QMP 'cont' if you have paused it",
          command: null,
        });
      return "stopped";
    case "away":
      ways.push({
        what: `move it here: say at ${ownership.peer || "the site that has it"}`,
        command: `bfmig migrate ${vm} --to ${facts.site}`,
      });
      if (newest) {
        ways.push({
          what: `only if ${ownership.peer || "that site"} is lost for good: fence it, then restart the VM here from generation ${newest.generation}:`,
          command: `bfmig recover ${vm} --force`,
        });
      }
      return "elsewhere";
    default:
      return "never-here";
  }
}

function whereItIs({ vm, site, ownership, qemu, peers, activity }: Facts): string {
  const doing = activity ? ` ('${activity}' is under way)` : "";
  if (ownership?.state === "owned") {
    const how = {
      running: "runs here",
      paused: "is paused here",
      none: "does not run",
      unknown: "has a QEMU that does not answer",
    };
    return `${vm} is ${site}'s (epoch ${ownership.epoch}) and ${how[qemu]}${doing}.`;
  }
  if (ownership?.state !== "away") return `${vm} was never owned by ${site}${doing}.`;
  const owner = peers.find(({ says }) => says?.state === "owned");
  if (owner) return `${vm} is at ${owner.site}, which says so (epoch ${owner.says?.epoch})${doing}.`;
  return `By the record here ${vm} is at ${ownership.peer || "another site"} (epoch ${ownership.epoch}); no site that answers says that it has it${doing}.`;
}

function sayingOf({ says }: PeerFinding): string {
  if (says?.state === "owned") return `it has the VM (epoch ${says.epoch})`;
  return `its record says '${says?.state}' (epoch ${says?.epoch})`;
}

/** `bfmig bench experiments`: the evaluation again, with real Linux guests on this machine. */

import { Command, InvalidArgumentError } from "@commander-js/extra-typings";
import { formatSize, formatTime, parseSize, parseTime } from "../config/units.ts";
import { OperationError } from "../errors.ts";
import { runExperiments } from "../experiments/experiments.ts";
import {
  experimentName,
  experimentOf,
  guestAges,
  type LinkShape,
  linkLabel,
  planSessions,
} from "../experiments/plan.ts";
import { type ExperimentRecord, methods, workloads } from "../experiments/record.ts";
import { interruptSignal } from "./interrupt.ts";
import { jsonOption, positive, print, printJson, runCommand, warn } from "./output.ts";

const qemuBinary = "qemu-system-x86_64";
/** What every method is allowed. */
const downtimeLimitMs = 300;
const fullRepeats = 3;
const longestAwayMs = 86_400_000;

/** The command. */
export function experimentsCommand(): Command {
  return new Command("experiments")
    .description(
      "move real Linux guests, made from Debian packages, over emulated links by QEMU's own methods and by ours, and keep " +
        "what was measured; what is in DIR is not measured again",
    )
    .requiredOption("--out <dir>", "folder of the results")
    .option("--quick", "the part that tells most, in about ten minutes")
    .option(
      "--workload <names>",
      `only these, with commas between: ${workloads.join(", ")}`,
      oneOf("workload", workloads),
    )
    .option(
      "--link <links>",
      "over these links instead: Mbit/s and round trip in ms, such as 50/200,100/40",
      parseLinks,
    )
    .option("--memory <sizes>", "only guests of these sizes, such as 512MiB,1GiB", listOf(parseMebibytes))
    .option("--age <names>", `only guests of this age: ${guestAges.join(", ")}`, oneOf("age", guestAges))
    .option("--away <times>", "ways back after these times instead, such as 10s,5m", listOf(parseAway))
    .option("--method <names>", `only these: ${methods.join(", ")}`, oneOf("method", methods))
    .option(
      "--repeats <n>",
      `how often each run is made (default: ${fullRepeats}; 1 with --quick)`,
      parseRepeats,
    )
    .addOption(jsonOption)
    .action((options) =>
      runCommand(options, async () => {
        const signal = interruptSignal();
        const { quick = false, json = false } = options;
        const plan = {
          quick,
          workloads: options.workload ?? null,
          links: options.link ?? null,
          methods: options.method ?? null,
          memoriesMiB: options.memory ?? null,
          ages: options.age ?? null,
          awaysMs: options.away ?? null,
          repeats: options.repeats ?? (quick ? 1 : fullRepeats),
        };
        if (planSessions(plan).length === 0) {
          throw new OperationError(
            "usage",
            "Cannot measure: no guest of the plan is like that; leave out --memory, --age or --workload to see what there is",
          );
        }
        try {
          const outcome = await runExperiments(
            { plan, folder: options.out, qemuBinary, downtimeLimitMs, signal },
            json ? jsonEvents : textEvents,
          );
          if (json) printJson({ event: "done", ...outcome });
          else
            print(
              `${outcome.made} runs made, ${outcome.kept} were there; results: ${options.out}/results.jsonl`,
            );
          if (outcome.failures.length > 0) process.exitCode = 1;
        } catch (error) {
          if (!signal.aborted) throw error;
          throw new OperationError(
            "aborted",
            "Interrupted; everything that was started is gone, and what was measured is kept: the same command goes on from there",
          );
        }
      }),
    ) as unknown as Command;
}

const textEvents = {
  plan: (runs: number, kept: number, estimateMs: number) =>
    print(`${runs} runs, ${kept} of them made before; the others take about ${formatTime(estimateMs)}`),
  step: (text: string) => print(`- ${text}`),
  record: (record: ExperimentRecord, done: number) => print(`${done}. ${describe(record)}`),
  failure: (name: string, message: string) => warn(`Cannot measure ${name}: ${message}`),
};

const jsonEvents = {
  plan: (runs: number, kept: number, estimateMs: number) =>
    printJson({ event: "plan", runs, kept, estimateMs: Math.round(estimateMs) }),
  step: (text: string) => printJson({ event: "step", text }),
  record: (record: ExperimentRecord, done: number) => printJson({ event: "run", done, record }),
  failure: (session: string, message: string) => {
    printJson({ event: "failure", session, message });
    warn(`Cannot measure ${session}: ${message}`);
  },
};

function describe(record: ExperimentRecord): string {
  const { totalMs, downtimeMs, gapMs, wireBytes, converged } = record;
  const gap = gapMs === null ? "" : `, gap ${formatTime(gapMs)}`;
  const cost = `${formatTime(totalMs)}, down ${formatTime(downtimeMs)}${gap}, ${formatSize(wireBytes)}`;
  return `${experimentName(experimentOf(record))}: ${converged ? cost : `given up after ${formatTime(totalMs)}, ${formatSize(wireBytes)}`}`;
}

/** Parses names with commas between. */
function oneOf<Name extends string>(what: string, known: readonly Name[]): (text: string) => Name[] {
  return (text) =>
    text.split(",").map((name) => {
      if ((known as readonly string[]).includes(name)) return name as Name;
      throw new InvalidArgumentError(
        `there is no ${what} ${JSON.stringify(name)}; there are ${known.join(", ")}`,
      );
    });
}

function parseLinks(text: string): LinkShape[] {
  return text.split(",").map((one) => {
    const [, rate, rtt] = /^(\d{1,6}(?:\.\d+)?)\/(\d{1,5})$/.exec(one) ?? [];
    const link = { bitsPerSecond: Number(rate) * 1e6, rttMs: Number(rtt) };
    if (link.bitsPerSecond >= 1e5) return link;
    throw new InvalidArgumentError(
      `${JSON.stringify(one)} is no link; write Mbit/s (0.1 at least) and ms, such as ${linkLabel({ bitsPerSecond: 1e8, rttMs: 40 })}`,
    );
  });
}

/** Parses things with commas between. */
function listOf(parse: (text: string) => number): (text: string) => number[] {
  return (text) => text.split(",").map(parse);
}

function parseMebibytes(text: string): number {
  return positive(parseSize)(text) / 2 ** 20;
}

function parseAway(text: string): number {
  const ms = positive(parseTime)(text);
  if (ms <= longestAwayMs) return ms;
  throw new InvalidArgumentError("at most a day is possible");
}

function parseRepeats(text: string): number {
  const repeats = Number(text);
  if (/^\d{1,3}$/.test(text) && repeats >= 1) return repeats;
  throw new InvalidArgumentError("a whole number from 1 to 999 is needed");
}

/** `bfmig verify PATH…`: replays snapshots and deltas offline, checks every digest, says what is wrong and where. */

import { availableParallelism } from "node:os";
import process from "node:process";
import { Command, InvalidArgumentError, Option } from "@commander-js/extra-typings";
import cliProgress from "cli-progress";
import { ExitCode } from "../errors.ts";
import type { VerifyFinding, VerifyProgress, VerifyReport, VmReport } from "../verify/report.ts";
import { jsonOption, print, printJson, progressOption, runCommand } from "./output.ts";

const progressEveryMs = 500;
const mostJobs = 64;
const mostDefaultJobs = 8;

/** The command, to be added to the program. */
export function verifyCommand(): Command {
  return new Command("verify")
    .description("check offline what a store retains: replays snapshots and deltas and compares every digest")
    .argument("<path...>", "store, folder of stores, VM, generation, or a manifest or delta by itself")
    .option("--key <file>", "digest key of a VM; repeat it for several VMs", collect, [])
    .option("--quick", "check all but the contents of pages and disks")
    .addOption(
      new Option("--cross-check", "replay deltas also in a second, naive way, and compare").conflicts(
        "quick",
      ),
    )
    .option("--jobs <n>", "threads that make digests of pages", jobCount, defaultJobs())
    .addOption(jsonOption)
    .addOption(progressOption)
    .action((paths, options) =>
      runCommand(options, async () => {
        const output = options.json
          ? jsonOutput()
          : textOutput(options.progress && process.stderr.isTTY === true);
        const { key: keyPaths, quick = false, crossCheck = false, jobs } = options;
        const what = { keyPaths, quick, crossCheck, jobs, ...output.during };
        // Loaded here: `--help` does without the verifier.
        const { verifyPaths } = await import("../verify/verify.ts");
        const report = await verifyPaths(paths, what).finally(output.stop);
        output.finish(report);
        if (report.findings.length > 0) process.exitCode = ExitCode.verificationFailed;
      }),
    ) as unknown as Command;
}

interface Output {
  readonly during: {
    readonly onFinding: (finding: VerifyFinding) => void;
    readonly onProgress: (progress: VerifyProgress) => void;
  };
  readonly stop: () => void;
  readonly finish: (report: VerifyReport) => void;
}

/** As many as there are cores, within reason: beyond that, reading is the limit. */
function defaultJobs(): number {
  return Math.min(availableParallelism(), mostDefaultJobs);
}

function jobCount(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < 1 || value > mostJobs) {
    throw new InvalidArgumentError(`a whole number from 1 to ${mostJobs} is needed`);
  }
  return value;
}

function collect(value: string, before: string[]): string[] {
  return [...before, value];
}

function jsonOutput(): Output {
  let last = 0;
  return {
    during: {
      onFinding: (finding) => printJson({ event: "finding", ...finding }),
      onProgress: (progress) => {
        const now = performance.now();
        if (now - last < progressEveryMs) return;
        last = now;
        printJson({ event: "progress", ...progress });
      },
    },
    stop: () => {},
    finish: ({ vms, notes, generations, diskBytes, looseFiles, findings }) => {
      for (const note of notes) printJson({ event: "note", ...note });
      for (const vm of vms) printJson({ event: "vm", ...vm });
      printJson({ event: "done", generations, diskBytes, looseFiles, findings: findings.length });
    },
  };
}

function textOutput(drawsProgress: boolean): Output {
  const bar = drawsProgress
    ? new cliProgress.SingleBar({
        format: "{vm} generation {generation} [{bar}] {percentage}%, {left}",
        stream: process.stderr,
        clearOnComplete: true,
        hideCursor: true,
      })
    : null;
  let isDrawn = false;
  return {
    during: {
      // Printed at the end: lines and a progress line would mix.
      onFinding: () => {},
      onProgress: ({ vm, generation, doneBytes, totalBytes, etaMs }) => {
        if (bar === null) return;
        const shown = { vm, generation, left: describeLeft(etaMs) };
        if (!isDrawn) bar.start(totalBytes, 0, shown);
        isDrawn = true;
        bar.setTotal(totalBytes);
        bar.update(doneBytes, shown);
      },
    },
    stop: () => bar?.stop(),
    finish: (report) => {
      for (const finding of report.findings) print(describeFinding(finding));
      for (const { path, note } of report.notes) print(`${path}: note: ${note}`);
      for (const vm of report.vms) print(describeVm(vm));
      const { length } = report.findings;
      const looked = [count(report.generations, "generation"), count(report.looseFiles, "file")].filter(
        (text) => !text.startsWith("0 "),
      );
      print(
        `${looked.join(" and ") || "nothing"} verified, ${length === 0 ? "no findings" : count(length, "finding")}`,
      );
    },
  };
}

/** One line for a finding: where, then what. */
function describeFinding(finding: VerifyFinding): string {
  const { path, generation, region, page, disk, block, diskOffset, offset, problem } = finding;
  const where = [
    generation === undefined ? null : `generation ${generation}`,
    region === undefined ? null : `${region} page ${page}`,
    disk === undefined
      ? null
      : block === undefined
        ? disk
        : `${disk} block ${block} (byte ${diskOffset} of the disk)`,
    offset === undefined || problem.includes("(at byte ") ? null : `byte ${offset}`,
  ].filter((part) => part !== null);
  return `${path}: ${where.length > 0 ? `${where.join(", ")}: ` : ""}${problem}`;
}

function describeVm({ vm, path, branch, generations }: VmReport): string {
  if (branch !== null) {
    const can = generations.some(({ restorable }) => restorable) ? "restorable" : "cannot be restored";
    return `${vm} (${path}): branch ${branch}, ${can}`;
  }
  if (generations.length === 0) return `${vm} (${path}): no generations`;
  const good = generations.filter(({ restorable }) => restorable).map(({ generation }) => generation);
  const restorable = good.length === 0 ? "none can be restored" : `restorable: ${good.join(", ")}`;
  const seeds = generations.filter(({ seed }) => seed).map(({ generation }) => generation);
  const toBuildOn = seeds.length === 0 ? "" : `; to build on only (seeds): ${seeds.join(", ")}`;
  return `${vm} (${path}): ${count(generations.length, "generation")}, ${restorable}${toBuildOn}`;
}

/** How long the rest will take: "1 min 20 s left". */
function describeLeft(etaMs: number | null): string {
  if (etaMs === null) return "";
  const seconds = Math.ceil(etaMs / 1000);
  return seconds < 60 ? `${seconds} s left` : `${Math.floor(seconds / 60)} min ${seconds % 60} s left`;
}

function count(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? "" : "s"}`;
}

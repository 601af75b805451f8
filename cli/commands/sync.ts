/** `bfmig sync`: a copy of a running VM at another site, to be restarted there or to build on, once or again and again. */

import { setTimeout as sleep } from "node:timers/promises";
import { Command } from "@commander-js/extra-typings";
import type { CopyDone, RepeatedCopy } from "../agent/copy.ts";
import { defaultLinkTimeoutMs } from "../agent/migrate.ts";
import { formatRate, formatSize, formatTime, parseRate, parseTime } from "../config/units.ts";
import { ask, type ControlLine } from "../control-client.ts";
import { messageOf, OperationError } from "../errors.ts";
import type { DivergenceEvent } from "../leg/divergence.ts";
import { interruptSignal } from "./interrupt.ts";
import { LegProgressBar } from "./leg-progress-bar.ts";
import {
  controlOption,
  jsonOption,
  positive,
  print,
  printJson,
  progressOption,
  runCommand,
  warn,
} from "./output.ts";
import { budgetShortfall, nextStart } from "./sync-pace.ts";

const defaultDowntimeLimitMs = 300;

/** The command. */
export function syncCommand(): Command {
  return new Command("sync")
    .description(
      "carry a running VM's changes to another site ahead of a migration, or with --checkpoint a state that can be restarted there; the VM stays",
    )
    .argument("<vm>", "its name")
    .requiredOption("--to <site>", "where the copy goes")
    .option("--checkpoint", "make a consistent, restartable copy, at the cost of a short pause of the VM")
    .option(
      "--every <time>",
      "repeat, such as 10m, until interrupted or the VM has moved",
      positive(parseTime),
    )
    .option("--bandwidth <rate>", "use no more of the link than this, such as 50M", positive(parseRate))
    .option(
      "--downtime-limit <time>",
      "how long the VM may stand still for a checkpoint (default: 300ms)",
      positive(parseTime),
    )
    .option(
      "--timeout <time>",
      "give up when the VM was not stopped for the checkpoint by then, or all was not carried",
      positive(parseTime),
    )
    .option(
      "--link-timeout <time>",
      "how long to wait for a lost link",
      positive(parseTime),
      defaultLinkTimeoutMs,
    )
    .addOption(controlOption)
    .addOption(jsonOption)
    .addOption(progressOption)
    .action((vm, options) =>
      runCommand(options, async () => {
        const { checkpoint = false } = options;
        if (!checkpoint && options.downtimeLimit !== undefined) {
          throw new OperationError(
            "usage",
            `Cannot sync ${vm} with --downtime-limit: without --checkpoint it does not stand still; leave it out, or give --checkpoint`,
          );
        }
        const bar = new LegProgressBar(options.progress && !options.json);
        const body = {
          vm,
          to: options.to,
          checkpoint,
          downtimeLimitMs: options.downtimeLimit ?? defaultDowntimeLimitMs,
          timeoutMs: options.timeout ?? null,
          linkTimeoutMs: options.linkTimeout,
          bitsPerSecond: options.bandwidth ?? null,
        };
        const interrupted = interruptSignal();
        let isUnderWay = false;
        interrupted.addEventListener("abort", () => {
          // Between two copies nothing that is done with the VM is ours.
          if (!isUnderWay) return;
          ask(options.control, "cancel", { vm }).catch((error) => warn(messageOf(error)));
        });
        const once = async (repeated: boolean): Promise<ControlLine> => {
          const onLine = (line: ControlLine) => {
            if (options.json) printJson(line);
            else if (line.event === "divergence") {
              bar.end();
              warn((line as unknown as DivergenceEvent).message);
            } else bar.show(line);
          };
          isUnderWay = true;
          try {
            return await ask(options.control, "sync", { ...body, repeated }, { onLine });
          } finally {
            isUnderWay = false;
            bar.end();
          }
        };
        const { every, bandwidth = null } = options;
        if (every === undefined) {
          const done = await once(false);
          if (options.json) printJson(done);
          else print(summaryOf(done as unknown as CopyDone));
          return;
        }
        const pace = { everyMs: every, bitsPerSecond: bandwidth };
        const what = checkpoint ? "checkpoint" : "seed";
        const run = { vm, to: options.to, what, pace, json: options.json ?? false } as const;
        await repeat(run, interrupted, () => once(true) as Promise<unknown> as Promise<RepeatedCopy>);
      }),
    ) as unknown as Command;
}

interface Repetition {
  readonly vm: string;
  readonly to: string;
  readonly what: "checkpoint" | "seed";
  readonly pace: { readonly everyMs: number; readonly bitsPerSecond: number | null };
  readonly json: boolean;
}

/** One line a copy, until it is interrupted or the VM has moved. What stands in the way of one is no end of it. */
async function repeat(
  { vm, to, what, pace, json }: Repetition,
  interrupted: AbortSignal,
  once: () => Promise<RepeatedCopy>,
): Promise<void> {
  let copies = 0;
  let ended = "interrupted";
  for (let due = Date.now(); !interrupted.aborted; ) {
    const startedAt = Date.now();
    const line = await once().catch((error): RepeatedCopy => {
      const isFinal =
        error instanceof OperationError && (error.reason === "usage" || error.reason === "refused");
      if (isFinal) throw error;
      // Such as an agent that is restarted.
      return { event: "done", outcome: "failed", vm, to, why: messageOf(error), lagMs: null };
    });
    if (interrupted.aborted && line.outcome !== "done") break;
    const tookMs = Date.now() - startedAt;
    if (json) printJson({ ...line, event: "sync", tookMs });
    else print(tell(line));
    if (line.outcome === "moved") {
      ended = "moved";
      break;
    }
    if (line.outcome === "done") {
      copies++;
      const shortfall = budgetShortfall({ ...pace, tookMs, wireBytes: line.wireBytes });
      if (shortfall !== null) {
        const { neededBitsPerSecond } = shortfall;
        const message =
          `a ${what} took ${formatTime(tookMs)}, and one is wanted every ${formatTime(pace.everyMs)}: ` +
          `the copy at ${to} lags up to ${formatTime(2 * tookMs)}` +
          (neededBitsPerSecond === null ? "" : `; about ${formatRate(neededBitsPerSecond)} would be needed`);
        if (json)
          printJson({ event: "behind", vm, to, tookMs, everyMs: pace.everyMs, neededBitsPerSecond, message });
        else warn(message);
      }
    }
    due = nextStart(due, pace.everyMs, Date.now());
    await sleep(due - Date.now(), undefined, { signal: interrupted }).catch(() => {});
  }
  if (json) printJson({ event: "done", vm, to, [`${what}s`]: copies, ended });
  else if (ended === "moved") print(`No more ${what}s of ${vm} to ${to}: it has moved away`);
}

function tell(line: RepeatedCopy): string {
  if (line.outcome === "done") return summaryOf(line);
  const lag = line.lagMs === null ? "" : `; the copy there is ${formatTime(line.lagMs)} old`;
  return `${line.vm} to ${line.to}: ${line.outcome}, ${line.why}${lag}`;
}

function summaryOf(done: CopyDone): string {
  if (done.purpose === "seed") {
    const pause = done.pauseMs === 0 ? "" : `QEMU stopped it for ${formatTime(done.pauseMs)}, `;
    return (
      `${done.to} has seed ${done.generation} of ${done.vm}, to build on: ${formatTime(done.totalMs)}, ${pause}` +
      `${formatSize(done.wireBytes)} on the wire, up to ${formatTime(done.lagMs)} behind`
    );
  }
  return (
    `${done.to} has generation ${done.generation} of ${done.vm}: ${formatTime(done.totalMs)}, ` +
    `pause ${formatTime(done.pauseMs)}, ${formatSize(done.wireBytes)} on the wire, ${formatTime(done.lagMs)} behind`
  );
}

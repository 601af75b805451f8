/** `bfmig migrate`: one leg, with a progress line. */

import { Command, Option } from "@commander-js/extra-typings";
import { defaultLinkTimeoutMs, type MigrateDone } from "../agent/migrate.ts";
import { formatSize, formatTime, parseRate, parseTime } from "../config/units.ts";
import { ask } from "../control-client.ts";
import { messageOf } from "../errors.ts";
import { type DivergenceEvent, divergencePolicies } from "../leg/divergence.ts";
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
import { linkRateOption, rttOption } from "./predict.ts";
import { type PredictionAnswer, showPrediction } from "./prediction-table.ts";
import { streamCount } from "./stream-count.ts";

/** The command. */
export function migrateCommand(): Command {
  return new Command("migrate")
    .description("migrate a running VM to another site; Ctrl-C before the switchover keeps it here")
    .argument("<vm>", "its name")
    .requiredOption("--to <site>", "where to")
    .option("--bandwidth <rate>", "use no more of the link than this, such as 50M", positive(parseRate))
    .option("--downtime-limit <time>", "how long the VM may stand still", positive(parseTime), 300)
    .option("--timeout <time>", "give up when there was no switchover by then", positive(parseTime))
    .option(
      "--link-timeout <time>",
      "how long to wait for a lost link while the VM runs on here",
      positive(parseTime),
      defaultLinkTimeoutMs,
    )
    .addOption(
      new Option(
        "--on-divergence <policy>",
        "if the guest changes faster than the link carries: wait until --timeout, throttle the guest, or stop the leg",
      )
        .choices(divergencePolicies)
        .default("wait" as const),
    )
    .option("--streams <count>", "stripe the leg over so many connections, at most 16", streamCount, 1)
    .option("--dry-run", "say what it would take, and send nothing")
    .addOption(linkRateOption)
    .addOption(rttOption)
    .addOption(controlOption)
    .addOption(jsonOption)
    .addOption(progressOption)
    .action((vm, options) =>
      runCommand(options, async () => {
        const bar = new LegProgressBar(options.progress && !options.json);
        const body = {
          vm,
          to: options.to,
          downtimeLimitMs: options.downtimeLimit,
          timeoutMs: options.timeout ?? null,
          linkTimeoutMs: options.linkTimeout,
          bitsPerSecond: options.bandwidth ?? null,
          onDivergence: options.onDivergence,
          streams: options.streams,
          link: { rate: options.linkRate ?? null, rttMs: options.rtt ?? null, loss: null },
        };
        if (options.dryRun) {
          const { to, downtimeLimitMs, bitsPerSecond, streams, link } = body;
          const planned = { vm, to, downtimeLimitMs, bitsPerSecond, streams, link };
          const answer = await ask(options.control, "predict", planned);
          if (options.json) return printJson(answer);
          const found = answer as unknown as PredictionAnswer;
          showPrediction(found);
          for (const note of found.notes) warn(note);
          return;
        }
        // The agent is asked to stop, and then says how it ended: after the handover it is too late to stop.
        interruptSignal().addEventListener("abort", () => {
          ask(options.control, "cancel", { vm }).catch((error) => warn(messageOf(error)));
        });
        try {
          const done = await ask(options.control, "migrate", body, {
            onLine: (line) => {
              if (options.json) printJson(line);
              else if (line.event === "divergence") {
                bar.end();
                warn(tellDivergence(line as unknown as DivergenceEvent));
              } else bar.show(line);
            },
          });
          bar.end();
          if (options.json) printJson(done);
          else print(summaryOf(done as unknown as MigrateDone));
        } finally {
          bar.end();
        }
      }),
    ) as unknown as Command;
}

const consequences = {
  wait: "it goes on until --timeout",
  throttle: "the guest is slowed down until it does",
  stop: "the leg is given up",
} as const;

function tellDivergence({ message, policy }: DivergenceEvent): string {
  return `${message}; ${consequences[policy]}`;
}

function summaryOf(done: MigrateDone): string {
  return (
    `${done.vm} runs at ${done.to}: ${done.leg} leg, ${formatTime(done.totalMs)}, ` +
    `downtime ${formatTime(done.downtimeMs)}, ${formatSize(done.wireBytes)} on the wire, generation ${done.generation}` +
    (done.predictedMs === null ? "" : `; ${formatTime(done.predictedMs)} were predicted`)
  );
}

/** `bfmig migrate`: one leg, with a progress line. */

import { Command } from "@commander-js/extra-typings";
import { defaultLinkTimeoutMs, type MigrateDone } from "../agent/migrate.ts";
import { formatSize, formatTime, parseRate, parseTime } from "../config/units.ts";
import { ask } from "../control-client.ts";
import { messageOf } from "../errors.ts";
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
        };
        // The agent is asked to stop, and then says how it ended: after the handover it is too late to stop.
        interruptSignal().addEventListener("abort", () => {
          ask(options.control, "cancel", { vm }).catch((error) => warn(messageOf(error)));
        });
        try {
          const done = await ask(options.control, "migrate", body, {
            onLine: (line) => (options.json ? printJson(line) : bar.show(line)),
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

function summaryOf(done: MigrateDone): string {
  return (
    `${done.vm} runs at ${done.to}: ${done.leg} leg, ${formatTime(done.totalMs)}, ` +
    `downtime ${formatTime(done.downtimeMs)}, ${formatSize(done.wireBytes)} on the wire, generation ${done.generation}`
  );
}

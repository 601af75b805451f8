/** `bfmig predict`: what a leg would take, what predictions were worth so far, and when moving pays. Sends nothing. */

import { readFile } from "node:fs/promises";
import { Command, Option } from "@commander-js/extra-typings";
import { parseRate, parseTime } from "../config/units.ts";
import { ask } from "../control-client.ts";
import { messageOf, OperationError } from "../errors.ts";
import { controlOption, jsonOption, positive, printJson, runCommand, warn } from "./output.ts";
import {
  type HistoryAnswer,
  type PredictionAnswer,
  showHistory,
  showPrediction,
} from "./prediction-table.ts";
import { streamCount } from "./stream-count.ts";

/** `--link-rate` and `--rtt`, on every command that predicts. */
export const linkRateOption = new Option(
  "--link-rate <rate>",
  "what the link carries, for the prediction, such as 100M",
).argParser(positive(parseRate));
export const rttOption = new Option("--rtt <time>", "its round-trip time, for the prediction").argParser(
  positive(parseTime),
);

/** The command. */
export function predictCommand(): Command {
  return new Command("predict")
    .description("what a leg would take, before anything is sent; --history: what predictions were worth")
    .argument("<vm>", "its name")
    .option("--to <site>", "where to")
    .option("--history", "each leg out of this site with its prediction, outcome and error")
    .addOption(linkRateOption)
    .addOption(rttOption)
    .option("--loss <share>", "share of packets that the link loses, such as 0.001", share)
    .option("--streams <count>", "stripe the leg over so many connections, at most 16", streamCount, 1)
    .option("--bandwidth <rate>", "use no more of the link than this, such as 50M", positive(parseRate))
    .option("--downtime-limit <time>", "how long the VM may stand still", positive(parseTime), 300)
    .option("--away <time>", "also what a return after so long would cost", positive(parseTime))
    .option("--when", "when moving is cheapest, by --costs")
    .option("--costs <file>", "CSV: time, and a column of costs for each site")
    .option("--from <time>", "plan from here on, such as 2026-03-29T00:00:00+01:00", timestamp)
    .option("--until <time>", "plan until here", timestamp)
    .addOption(controlOption)
    .addOption(jsonOption)
    .action((vm, options) =>
      runCommand(options, async () => {
        if (options.history) {
          const answer = await ask(options.control, "predictions", { vm });
          if (options.json) printJson(answer);
          else showHistory(answer as unknown as HistoryAnswer);
          return;
        }
        const { to, costs } = options;
        if (to === undefined)
          throw new OperationError("usage", "Cannot predict: give --to SITE, or --history");
        if ((options.when ?? false) !== (costs !== undefined))
          throw new OperationError("usage", "Cannot plan: --when and --costs FILE.csv belong together");
        const answer = await ask(options.control, "predict", {
          vm,
          to,
          downtimeLimitMs: options.downtimeLimit,
          bitsPerSecond: options.bandwidth ?? null,
          streams: options.streams,
          link: {
            rate: options.linkRate ?? null,
            rttMs: options.rtt ?? null,
            loss: options.loss ?? null,
          },
          awayMs: options.away ?? null,
          when:
            costs === undefined
              ? null
              : {
                  text: await readTable(costs),
                  path: costs,
                  from: options.from ?? null,
                  until: options.until ?? null,
                },
        });
        if (options.json) printJson(answer);
        else {
          const found = answer as unknown as PredictionAnswer;
          showPrediction(found);
          for (const note of found.notes) warn(note);
        }
      }),
    ) as unknown as Command;
}

async function readTable(path: string): Promise<string> {
  return await readFile(path, "utf8").catch((error) => {
    throw new OperationError("usage", `Cannot read ${path}: ${messageOf(error)}`);
  });
}

/** A share of packets. Throws OperationError "usage". */
function share(text: string): number {
  const value = /^\d*\.?\d+$/.test(text) ? Number(text) : Number.NaN;
  if (value >= 0 && value <= 0.5) return value;
  throw new OperationError(
    "usage",
    `Cannot use ${JSON.stringify(text.slice(0, 80))} as a loss: a share from 0 to 0.5 is needed`,
  );
}

/** Milliseconds since 1970 of a time with its offset. Throws OperationError "usage". */
function timestamp(text: string): number {
  const isWhole = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d)$/.test(text);
  const at = isWhole ? Date.parse(text) : Number.NaN;
  if (Number.isFinite(at)) return at;
  throw new OperationError(
    "usage",
    `Cannot use ${JSON.stringify(text.slice(0, 80))}: a time with an offset is needed, such as 2026-03-29T01:00:00+01:00`,
  );
}

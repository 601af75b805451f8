/** `bfmig page`: serves the page that verifies in a browser, on this machine only, until it is interrupted. */

import { Command } from "@commander-js/extra-typings";
import { OperationError } from "../errors.ts";
import { servePage } from "../web/page-server.ts";
import { interruptSignal } from "./interrupt.ts";
import { jsonOption, print, printJson, runCommand } from "./output.ts";

/** The command. */
export function pageCommand(): Command {
  return new Command("page")
    .description("serve the page that verifies in a browser, on this machine only, until Ctrl-C")
    .option("--port <number>", "port on 127.0.0.1; 0 takes any free one", parsePort, 0)
    .addOption(jsonOption)
    .action((options) =>
      runCommand(options, async () => {
        const interrupted = interruptSignal();
        const server = await servePage(options.port);
        if (options.json) printJson({ event: "ready", url: server.url });
        else
          print(
            `Open ${server.url} in a browser. Files that you drop there stay on this machine; Ctrl-C ends.`,
          );
        if (!interrupted.aborted) {
          await new Promise((resolve) => interrupted.addEventListener("abort", resolve, { once: true }));
        }
        await server.close();
        if (options.json) printJson({ event: "done" });
      }),
    ) as unknown as Command;
}

function parsePort(text: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN;
  if (port <= 65535) return port;
  throw new OperationError(
    "usage",
    `Cannot use port ${JSON.stringify(text)}: a number from 0 to 65535 is needed`,
  );
}

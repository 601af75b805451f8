/** The command line's side of the control interface: one request, lines back. */

import { request } from "node:http";
import { createInterface } from "node:readline";
import { ExitCode, type ExitReason, OperationError } from "./errors.ts";

/** A line of an answer. */
export type ControlLine = { readonly event: string } & Readonly<Record<string, unknown>>;

/** Answers are short; only a migration's lines take long to come. */
const connectAdvice =
  "is the agent running? start it with 'bfmig agent --config FILE', or name its socket with --control";

/**
 * Asks the agent behind a control socket. Lines before the last go to `onLine`. Resolves with the line "done";
 * throws OperationError with the agent's message and reason, or when the agent cannot be reached or goes away.
 */
export async function ask(
  socketPath: string,
  command: string,
  body: object,
  options: { readonly onLine?: (line: ControlLine) => void; readonly signal?: AbortSignal } = {},
): Promise<ControlLine> {
  return await new Promise((resolve, reject) => {
    const failed = (error: Error) => {
      if (options.signal?.aborted) reject(new OperationError("aborted", "Interrupted"));
      else
        reject(
          new OperationError(
            "failed",
            `Cannot ask the agent at ${socketPath}: ${error.message}; ${connectAdvice}`,
          ),
        );
    };
    const { signal } = options;
    const asked = request({ socketPath, method: "POST", path: `/v1/${command}`, signal }, (response) => {
      let last: ControlLine | null = null;
      const lines = createInterface({ input: response });
      lines.on("line", (text) => {
        const line = parseLine(text);
        if (line === null) {
          failed(new Error("what answers there is no agent"));
          response.destroy();
        } else if (line.event === "done" || line.event === "error") last = line;
        else options.onLine?.(line);
      });
      response.on("error", failed);
      // The line reader passes the response's error on, and without a listener that would end the program.
      lines.on("error", failed);
      lines.on("close", () => {
        if (last === null) failed(new Error("it ended without an answer"));
        else if (last.event === "done") resolve(last);
        else reject(errorOf(last));
      });
    });
    asked.on("error", failed);
    asked.end(JSON.stringify(body));
  });
}

/** A line of an agent; null if it is not one. */
function parseLine(text: string): ControlLine | null {
  try {
    const line = JSON.parse(text) as Partial<ControlLine> | null;
    return typeof line?.event === "string" ? (line as ControlLine) : null;
  } catch {
    return null;
  }
}

function errorOf(line: ControlLine): OperationError {
  const given = String(line["reason"]);
  const reason = given !== "done" && Object.hasOwn(ExitCode, given) ? given : "failed";
  return new OperationError(reason as ExitReason, String(line["message"]));
}

/**
 * The oracle: runs one input and says what happened. A decoder may accept, or refuse with a documented error. Any
 * other error, a property that does not hold, or memory beyond what its limits allow is a failure. That it ends at
 * all is watched from outside: see campaign.ts.
 */

import { getHeapStatistics } from "node:v8";
import { OperationError } from "../../cli/errors.ts";
import { FormatError } from "../../src/errors.ts";
import { bucket, defaultInputMemoryBytes, type Target } from "./target.ts";

/** Memory that a core may have at most, unless the target says otherwise: two windows of frames and room to spare. */
const defaultCoreBytesMax = 192 << 20;

/** What an input did. */
export interface Outcome {
  readonly verdict: "accepted" | "refused" | "failed";
  /** Inputs with the same signature behave alike, as far as it can be seen from outside. */
  readonly signature: string;
  /** What went wrong, for people; empty unless it failed. */
  readonly problem: string;
}

/** Runs an input. Never throws. */
export async function judge(target: Target, input: Uint8Array): Promise<Outcome> {
  const before = getHeapStatistics().external_memory;
  let outcome: Outcome;
  try {
    // A copy, with nothing behind it: a decoder that looks beyond its input must not find more input.
    const result = target.run(new Uint8Array(input));
    const what = typeof result === "string" ? result : await result;
    outcome = { verdict: "accepted", signature: `ok ${what}`, problem: "" };
  } catch (error) {
    outcome = (target.isDocumented ?? isDocumented)(error) ? refusal(error) : failure(error);
  }
  if (outcome.verdict === "failed") return outcome;
  const grown = getHeapStatistics().external_memory - before;
  if (grown > (target.inputMemoryBytes ?? defaultInputMemoryBytes)) {
    return fail("memory", `it took ${grown} bytes of memory`);
  }
  const coreBytes = target.core?.bytes().length ?? 0;
  if (coreBytes > (target.coreBytesMax ?? defaultCoreBytesMax)) {
    return fail("core memory", `the core's memory has grown to ${coreBytes} bytes`);
  }
  return outcome;
}

/** True for the errors that decoders are documented to throw. */
export function isDocumented(error: unknown): boolean {
  return error instanceof FormatError || error instanceof OperationError;
}

/** An outcome for something that went wrong. */
export function fail(signature: string, problem: string): Outcome {
  return { verdict: "failed", signature: `failed ${signature}`, problem };
}

function refusal(error: unknown): Outcome {
  const { name, message } = error as Error;
  const {
    code = "",
    reason = "",
    offset = -1,
  } = error as { code?: string; reason?: string; offset?: number };
  // Its first words, without what they say of the input: corpora would grow without an end.
  const words = message.replace(/"(\\.|[^"\\])*"/g, "").match(/[a-z]{2,24}/gi) ?? [];
  const shape = words.slice(0, 7).join(" ");
  return {
    verdict: "refused",
    signature: `${name} ${code}${reason} ${bucket(offset)} ${shape}`,
    problem: "",
  };
}

function failure(error: unknown): Outcome {
  if (!(error instanceof Error)) return fail(String(error), `it threw ${String(error)}`);
  const where = /at .*/.exec(error.stack?.slice(error.stack.indexOf("\n")) ?? "")?.[0] ?? "";
  const shape = error.message.replace(/\d+/g, "0").slice(0, 120);
  return fail(`${error.name} ${shape} ${where.replace(/^.*\/dist\//, "")}`, error.stack ?? error.message);
}

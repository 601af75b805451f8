import type { ExitReason } from "../../cli/errors.ts";

/** What an operational error must look like that ends the program for `reason`. */
export function endsAs(reason: ExitReason): { name: string; reason: ExitReason } {
  return { name: "OperationError", reason };
}

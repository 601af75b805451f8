/** Files that hold secrets: read only if nobody else can. */

import { open } from "node:fs/promises";
import { messageOf, OperationError } from "../errors.ts";

/**
 * The text of a file with a secret; `what` names it in messages. Throws OperationError "usage" if it cannot be read,
 * or if its group or others may read or write it. Messages never have its content.
 */
export async function readSecretFile(path: string, what: string): Promise<string> {
  let mode: number;
  let text: string;
  try {
    const file = await open(path, "r");
    try {
      mode = (await file.stat()).mode;
      text = await file.readFile("utf8");
    } finally {
      await file.close();
    }
  } catch (error) {
    throw new OperationError("usage", `Cannot read ${what} file ${path}: ${messageOf(error)}`);
  }
  if (mode & 0o077) {
    throw new OperationError(
      "usage",
      `Cannot use ${what} file ${path}: others may read it; run: chmod 600 ${path}`,
    );
  }
  return text;
}

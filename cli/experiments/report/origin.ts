/**
 * Where a report comes from. The runs do not say on which machine they were made: `results.json` keeps what the command that made them
 * has said, and later reports of the same folder take it over.
 */

import { readFile } from "node:fs/promises";
import { z } from "zod";

const experimentsSchema = z.strictObject({
  command: z.string(),
  /** In a few words: cores, processor, Node. */
  machine: z.string(),
});

/** What made the runs. */
export type ExperimentsOrigin = z.infer<typeof experimentsSchema>;

/** What made the runs, null if that is not known, and what made the report. */
export interface Origin {
  readonly experiments: ExperimentsOrigin | null;
  readonly report: { readonly at: string; readonly command: string };
}

/** What an earlier report says of the runs; null if there is none that says it. */
export async function earlierOrigin(resultsJsonPath: string): Promise<ExperimentsOrigin | null> {
  try {
    const earlier: unknown = JSON.parse(await readFile(resultsJsonPath, "utf8"));
    return z.object({ experiments: experimentsSchema }).safeParse(earlier).data?.experiments ?? null;
  } catch {
    return null;
  }
}

/** Makes the files of a report from the runs of a folder. */

import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { messageOf, OperationError } from "../../errors.ts";
import { makeDocument } from "./document.ts";
import { csvOf } from "./flat-results.ts";
import { htmlOf } from "./html.ts";
import { markdownOf } from "./markdown.ts";
import { type ExperimentsOrigin, earlierOrigin } from "./origin.ts";
import { readResults } from "./read-results.ts";
import { resultsJson } from "./results-json.ts";

/** What is known beside the runs. */
export interface ReportOptions {
  /** The command that makes the report, as it is told in it. */
  readonly command: string;
  /** What made the runs; null takes what an earlier report of the folder says. */
  readonly experiments: ExperimentsOrigin | null;
  readonly markdown: boolean;
}

/** What was made. */
export interface MadeReport {
  readonly runs: number;
  readonly notConverged: number;
  /** Paths. */
  readonly files: readonly string[];
  /** Why plots were left out, a sentence each. */
  readonly missing: readonly string[];
}

/** Reads `results.jsonl` of the folder and writes the report beside it. Throws OperationError. */
export async function makeReport(
  folder: string,
  { command, experiments, markdown }: ReportOptions,
): Promise<MadeReport> {
  const records = await readResults(folder);
  const jsonPath = join(folder, "results.json");
  const origin = {
    experiments: experiments ?? (await earlierOrigin(jsonPath)),
    report: { at: new Date().toISOString(), command },
  };
  const document = makeDocument(records, origin);
  const contents: [path: string, content: string][] = [
    [jsonPath, resultsJson(records, origin)],
    [join(folder, "results.csv"), csvOf(records)],
    [join(folder, "report.html"), htmlOf(document)],
    ...(markdown ? [[join(folder, "report.md"), markdownOf(document)] as [string, string]] : []),
  ];
  for (const [path, content] of contents) await write(path, content);
  return {
    runs: records.length,
    notConverged: records.filter(({ converged }) => !converged).length,
    files: contents.map(([path]) => path),
    missing: document.sections.flatMap(({ figures }) =>
      figures.flatMap((figure) => ("missing" in figure ? [figure.missing] : [])),
    ),
  };
}

async function write(path: string, content: string): Promise<void> {
  try {
    await writeFile(path, content);
  } catch (error) {
    throw new OperationError("failed", `Cannot write ${path}: ${messageOf(error)}`);
  }
}

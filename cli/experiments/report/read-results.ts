/** Reads `results.jsonl`, which has a run in each line. Nothing is skipped: a report of half the runs would be a wrong one. */

import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { messageOf, OperationError } from "../../errors.ts";
import { type ExperimentRecord, recordSchema } from "../record.ts";

/** Runs take a kilobyte each: what is larger is something else. */
const maxFileBytes = 32 * 2 ** 20;
const knownFormat = 1;

/** Where the runs of a folder are. */
function resultsPath(folder: string): string {
  return join(folder, "results.jsonl");
}

/** All runs of a folder, in the order of the file. Throws OperationError that names file and line. */
export async function readResults(folder: string): Promise<ExperimentRecord[]> {
  const path = resultsPath(folder);
  const text = await readText(path);
  const records: ExperimentRecord[] = [];
  const lineOf = new Map<string, number>();
  for (const [i, line] of text.split("\n").entries()) {
    if (line.trim() === "") continue;
    const where = `${path}, line ${i + 1}`;
    const record = parseLine(where, line);
    const identity = identityOf(record);
    const earlier = lineOf.get(identity);
    if (earlier !== undefined) {
      throw refusal(`Cannot read ${where}: it is the same run as line ${earlier}: remove one of them`);
    }
    lineOf.set(identity, i + 1);
    records.push(record);
  }
  if (records.length > 0) return records;
  throw refusal(`Cannot report on ${folder}: ${path} has no runs`);
}

async function readText(path: string): Promise<string> {
  try {
    const { size } = await stat(path);
    if (size > maxFileBytes) {
      throw refusal(`Cannot read ${path}: ${size} bytes are more than results take (${maxFileBytes})`);
    }
    return await readFile(path, "utf8");
  } catch (error) {
    if (error instanceof OperationError) throw error;
    const isMissing = (error as NodeJS.ErrnoException).code === "ENOENT";
    const why = isMissing
      ? "there is no such file: name the folder that has results.jsonl"
      : messageOf(error);
    throw refusal(`Cannot read ${path}: ${why}`);
  }
}

function parseLine(where: string, line: string): ExperimentRecord {
  const value = parseJson(where, line);
  const format = z.object({ format: z.unknown() }).safeParse(value).data?.format;
  if (typeof format === "number" && format !== knownFormat) {
    throw refusal(
      `Cannot read ${where}: its format is ${format}, and this program knows ${knownFormat}: use the bfmig that wrote it`,
    );
  }
  const parsed = recordSchema.safeParse(value);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const field = issue?.path.join(".") ?? "";
    throw broken(where, `${field === "" ? "the line" : field}: ${issue?.message ?? "unknown"}`);
  }
  for (const [field, range] of Object.entries(parsed.data.predicted ?? {})) {
    if (range.low > range.value || range.value > range.high) {
      throw broken(where, `predicted.${field}: its value is not between low and high`);
    }
  }
  return parsed.data;
}

function parseJson(where: string, line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    throw broken(where, "it is not JSON, as if it had been cut off");
  }
}

function broken(where: string, why: string): OperationError {
  return refusal(`Cannot read ${where}: ${why}; remove the line to report on the others`);
}

function refusal(message: string): OperationError {
  return new OperationError("failed", message);
}

/** Two runs may be alike in all figures, but not begin at the same time. */
function identityOf(record: ExperimentRecord): string {
  const { workload, dirtyPagesPerSecond, memoryBytes, age, diskBytes, link, method, awayMs, repeat, at } =
    record;
  return JSON.stringify([
    workload,
    dirtyPagesPerSecond,
    memoryBytes,
    age,
    diskBytes,
    link,
    method,
    awayMs,
    repeat,
    at,
  ]);
}

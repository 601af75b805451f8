/**
 * The results of experiments: DIR/results.jsonl, a record a line, each written whole and synced. A line that was cut off
 * when the machine or the program ended is removed when the file is opened.
 */

import { mkdir, open, readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { messageOf, OperationError } from "../errors.ts";
import { experimentKey, experimentOf } from "./plan.ts";
import { type ExperimentRecord, recordSchema } from "./record.ts";

/** Records in a folder. */
export class ResultFile {
  readonly path: string;
  private readonly records = new Map<string, ExperimentRecord>();

  private constructor(path: string) {
    this.path = path;
  }

  /** Opens the file of a folder, or makes both. Throws OperationError when it holds something else. */
  static async open(folder: string): Promise<ResultFile> {
    const path = join(folder, "results.jsonl");
    const results = new ResultFile(path);
    try {
      await mkdir(folder, { recursive: true });
      const file = await open(path, "a+");
      try {
        const text = await readFile(file, "utf8");
        const whole = text.slice(0, text.lastIndexOf("\n") + 1);
        for (const [i, line] of whole.split("\n").entries()) if (line !== "") results.take(line, i + 1);
        if (whole !== text) await file.truncate(Buffer.byteLength(whole));
      } finally {
        await file.close();
      }
    } catch (error) {
      if (error instanceof OperationError) throw error;
      throw new OperationError("failed", `Cannot use ${path}: ${messageOf(error)}`, { cause: error });
    }
    return results;
  }

  /** Records by the key of their run. */
  get made(): ReadonlyMap<string, ExperimentRecord> {
    return this.records;
  }

  /** Adds a record; it is on the disk when this resolves. */
  async add(record: ExperimentRecord): Promise<void> {
    const checked = recordSchema.parse(record);
    const file = await open(this.path, "a");
    try {
      await file.appendFile(`${JSON.stringify(checked)}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    this.records.set(experimentKey(experimentOf(checked)), checked);
  }

  private take(line: string, number: number): void {
    const parsed = recordSchema.safeParse(parseJson(line));
    if (!parsed.success) {
      throw new OperationError(
        "failed",
        `Cannot read line ${number} of ${this.path}: ${z.prettifyError(parsed.error).replaceAll("\n", " ")}; ` +
          "choose another folder, or remove the line",
      );
    }
    this.records.set(experimentKey(experimentOf(parsed.data)), parsed.data);
  }
}

function parseJson(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

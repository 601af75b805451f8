/**
 * What legs of a VM out of this site took, and what was predicted of them, in `STORE/<vm>/legs.jsonl`: a JSON object a line, the
 * newest one last. It is there to predict from. A file that cannot be read is an empty history, never a reason not to move.
 */

import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { writeFileAtomically } from "./atomic-file.ts";
import { isValidName } from "./vm-name.ts";

/** Name of the file in a VM's folder. */
export const legHistoryFile = "legs.jsonl";
/** Legs that are kept. */
export const maxHistoryLegs = 500;
const maxHistoryBytes = 2 << 20;

const amount = z.number().nonnegative();
const range = z.strictObject({ value: amount, low: amount, high: amount });
/** A leg that was not expected to end has no time and no bytes. */
const estimate = z.strictObject({
  totalMs: range.nullable(),
  downtimeMs: range,
  wireBytes: range.nullable(),
});

const recordSchema = z.strictObject({
  format: z.literal(1),
  /** When the leg began, ISO 8601. */
  at: z.iso.datetime(),
  to: z.string().refine(isValidName),
  kind: z.enum(["first", "return"]),
  /** Of a leg that was predicted before it began. */
  predicted: estimate.nullable(),
  /** What the model said before earlier errors were taken into account. */
  modelled: z.strictObject({ totalMs: amount, downtimeMs: amount, wireBytes: amount }).nullable(),
  measured: z.strictObject({
    totalMs: amount,
    downtimeMs: amount,
    wireBytes: amount,
    rounds: amount,
    negotiatedMs: amount,
    firstPassMs: amount,
    roundsMs: amount,
  }),
  tracking: z.enum(["standing", "scan"]),
  /** Bytes of guest memory; how many of them were not zero (null: not known), and how many differed from what the peer had. */
  memoryBytes: amount,
  filledBytes: amount.nullable(),
  changedBytes: amount,
  /** Frames of memory on the wire. */
  pageWireBytes: amount,
  /** Disks that moved too, and the same of them. */
  disks: amount,
  changedDiskBytes: amount,
  diskWireBytes: amount,
  deviceWireBytes: amount,
  /** Seconds since both sites held the same state; null on a first leg. */
  ageSeconds: amount.nullable(),
  /** As the leg measured them: bytes a second and milliseconds; null if it was too short for that. */
  bytesPerSecond: amount.nullable(),
  rttMs: amount.nullable(),
  /** What the configuration or the operator said that the link carries, in bytes a second. */
  givenBytesPerSecond: amount.nullable(),
  /** The leg's own limit of its rate, if it had one: it says nothing of the link then. */
  limitBytesPerSecond: amount.nullable(),
  /** What went out in the first round trip; null where the first frames did not tell. */
  initialBytes: amount.nullable(),
  /** What the prediction took, which the leg has waited for; null without one. */
  predictionMs: amount.nullable().default(null),
  /** How fast a sample of the pages was encoded before the leg, in bytes a second; null where none was. */
  encodeBytesPerSecond: amount.nullable(),
  /** Legs that the prediction had learned from. */
  learnedLegs: amount,
});

/** One leg. */
export type LegRecord = z.infer<typeof recordSchema>;

/** The history of one VM's legs out of this site. */
export class LegHistory {
  private readonly path: string;

  constructor(vmPath: string) {
    this.path = join(vmPath, legHistoryFile);
  }

  /** Legs, oldest first. Lines that are no records are left out. */
  async read(): Promise<LegRecord[]> {
    const text = await this.text();
    return text.split("\n").flatMap((line) => {
      const record = recordSchema.safeParse(parse(line));
      return record.success ? [record.data] : [];
    });
  }

  /** Adds a leg durably; the oldest ones go. Throws OperationError if the disk refuses. */
  async add(record: LegRecord): Promise<void> {
    const records = [...(await this.read()), recordSchema.parse(record)].slice(-maxHistoryLegs);
    await writeFileAtomically(this.path, records.map((one) => `${JSON.stringify(one)}\n`).join(""));
  }

  private async text(): Promise<string> {
    const size = await stat(this.path).then(
      ({ size }) => size,
      () => 0,
    );
    if (size === 0 || size > maxHistoryBytes) return "";
    return await readFile(this.path, "utf8").catch(() => "");
  }
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return null;
  }
}

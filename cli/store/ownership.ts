/**
 * Who may run a VM: a durable record per VM with an epoch that only grows.
 *
 *     none ──OWNED──► owned ──RELEASED──► released ──peer has OWNED──► away
 *                       ▲                    │ peer REFUSED: epoch + 2     │
 *                       └────────────────────┘◄──────── OWNED ─────────────┘
 */

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { OperationError } from "../errors.ts";
import { writeFileAtomically } from "./atomic-file.ts";

const recordSchema = z.strictObject({
  format: z.literal(1),
  vm: z.string(),
  /**
   * `owned`: this site may run the VM. `released`: handed to `peer`, which has not confirmed: in doubt.
   * `away`: `peer` has it. `none`: never owned here.
   */
  state: z.enum(["none", "owned", "released", "away"]),
  /** Newest epoch that this site knows of. */
  epoch: z.int().nonnegative(),
  /** Generation that the VM here runs from, or that was handed over; 0 before the first leg. */
  generation: z.int().nonnegative(),
  /** The other site of a handover; empty if there was none. */
  peer: z.string(),
  /** Highest epoch that this site has promised never to accept. */
  refusedEpoch: z.int().nonnegative(),
});

/** The durable ownership record of one VM at one site. */
export type OwnershipRecord = z.infer<typeof recordSchema>;

/** Where ownership lives. One host uses files; a site of many hosts would use a consensus store. */
export interface OwnershipRegister {
  /** The record of a VM; one with state `none` if there is none yet. Throws OperationError if it is damaged. */
  read(vm: string): Promise<OwnershipRecord>;
  /** Replaces the record durably. Throws OperationError if the epoch would go back. */
  write(record: OwnershipRecord): Promise<void>;
}

/** Ownership records in the files `STORE/<vm>/ownership`. */
export class FileOwnershipRegister implements OwnershipRegister {
  private readonly storePath: string;

  constructor(storePath: string) {
    this.storePath = storePath;
  }

  async read(vm: string): Promise<OwnershipRecord> {
    const path = join(this.storePath, vm, "ownership");
    let text: string;
    try {
      text = await readFile(path, "utf8");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return unowned(vm);
      throw error;
    }
    let parsed: unknown;
    try {
      parsed = JSON.parse(text);
    } catch {
      parsed = null;
    }
    const record = recordSchema.safeParse(parsed);
    if (!record.success || record.data.vm !== vm) {
      throw new OperationError(
        "refused",
        `Cannot trust ${path}: it is not a valid ownership record of ${vm}`,
      );
    }
    return record.data;
  }

  async write(record: OwnershipRecord): Promise<void> {
    const before = await this.read(record.vm);
    if (record.epoch < before.epoch || record.refusedEpoch < before.refusedEpoch) {
      throw new OperationError(
        "refused",
        `Cannot record ownership of ${record.vm}: epoch ${record.epoch} is older than ${before.epoch}`,
      );
    }
    await writeFileAtomically(
      join(this.storePath, record.vm, "ownership"),
      `${JSON.stringify(recordSchema.parse(record))}\n`,
    );
  }
}

function unowned(vm: string): OwnershipRecord {
  return { format: 1, vm, state: "none", epoch: 0, generation: 0, peer: "", refusedEpoch: 0 };
}

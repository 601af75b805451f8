/**
 * A note that fencing has begun, durable before the ownership record changes, and removed when nothing is left to do:
 *
 *     STORE/<vm>/fenced.json
 *
 * While it is there the VM's QEMU, if it still exists, has state that may be nowhere else, so it is not ended.
 */

import { readFile, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { z } from "zod";
import { OperationError } from "../errors.ts";
import { syncDirectory, writeFileAtomically } from "./atomic-file.ts";
import { branchNamePattern } from "./branches.ts";
import { isValidName } from "./vm-name.ts";

const markerSchema = z.strictObject({
  format: z.literal(1),
  /** The epoch that this site lost. */
  epoch: z.int().nonnegative(),
  /** Who has a newer one. */
  by: z.strictObject({ site: z.string().refine(isValidName), epoch: z.int().nonnegative() }),
  /** Generation that the VM here ran from; 0 if it was started here. */
  generation: z.int().nonnegative(),
  /** Name of the branch that keeps what is here. */
  branch: z.string().regex(branchNamePattern),
  /** ISO 8601, UTC. */
  startedAt: z.string().max(40),
});

/** What is known of a fencing that has begun. */
export type FenceMarker = z.infer<typeof markerSchema>;

/** The marker of a VM; null if there is none. Throws OperationError if it is damaged. */
export async function readFenceMarker(vmPath: string): Promise<FenceMarker | null> {
  const path = pathIn(vmPath);
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
  try {
    return markerSchema.parse(JSON.parse(text));
  } catch (cause) {
    throw new OperationError("refused", `Cannot trust ${path}: it is not a valid note of a fencing`, {
      cause,
    });
  }
}

/** Writes the marker durably. Throws OperationError. */
export async function writeFenceMarker(vmPath: string, marker: FenceMarker): Promise<void> {
  await writeFileAtomically(pathIn(vmPath), `${JSON.stringify(markerSchema.parse(marker))}\n`);
}

/** Removes the marker durably. */
export async function removeFenceMarker(vmPath: string): Promise<void> {
  const path = pathIn(vmPath);
  await rm(path, { force: true });
  await syncDirectory(dirname(path));
}

function pathIn(vmPath: string): string {
  return join(vmPath, "fenced.json");
}

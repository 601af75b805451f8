/**
 * How fast a guest changes its memory, as QEMU measures it: it hashes a sample of pages at both ends of a second
 * (`calc-dirty-rate`, mode page-sampling). That only reads memory and leaves every dirty log alone. Blocks below
 * 128 MiB are left out, and the answer is in whole MiB a second.
 */

import { setTimeout as sleep } from "node:timers/promises";
import type { QmpClient } from "./qmp-client.ts";
import { isObject } from "./qmp-messages.ts";

/** Guests with less memory than this cannot be measured. */
export const measurableMemoryBytes = 128 << 20;
const mebibyte = 1 << 20;
const measureSeconds = 1;
/** Pages of each GiB that are looked at: one of 64. */
const samplesPerGibibyte = 4096;
const pollMs = 250;
const giveUpMs = 10_000;

/** Measures for a second. Bytes a second, exact to a MiB; null if this QEMU cannot say. Rejects when QEMU refuses. */
export async function measureDirtyRate(qmp: QmpClient): Promise<number | null> {
  await qmp.execute("calc-dirty-rate", { "calc-time": measureSeconds, "sample-pages": samplesPerGibibyte });
  for (let waitedMs = 0; waitedMs < giveUpMs; waitedMs += pollMs) {
    await sleep(pollMs);
    const answer = await qmp.execute("query-dirty-rate");
    if (!isObject(answer) || answer["status"] !== "measured") continue;
    const rate = answer["dirty-rate"];
    return typeof rate === "number" && rate >= 0 ? rate * mebibyte : null;
  }
  return null;
}

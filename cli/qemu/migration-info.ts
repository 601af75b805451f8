/** What QEMU tells about a migration, and the switches that it takes: a typed subset, for 7.2 and later. */

import { OperationError } from "../errors.ts";
import type { QmpClient } from "./qmp-client.ts";
import { isObject, type QmpObject } from "./qmp-messages.ts";

/** The states that end a migration, and what they mean for its source. */
export type FinalStatus = "completed" | "failed" | "cancelled";

/** QEMU's state of a migration. `none`: there was none. Others (`wait-unplug`, `colo`, …) are passed on as they are. */
export type MigrationStatus =
  | "none"
  | "setup"
  | "active"
  | "pre-switchover"
  | "device"
  | "cancelling"
  | FinalStatus
  | (string & {});

/** How far the RAM is. */
export interface MigrationRam {
  /** Not yet sent in this round; what the guest dirtied since the last look at its bitmap is missing. */
  readonly remainingBytes: number;
  readonly transferredBytes: number;
  readonly totalBytes: number;
  readonly pageSizeBytes: number;
  /** Rate at which the guest dirtied pages in the last round, pages a second. */
  readonly dirtyPagesPerSecond: number;
  /** How often QEMU has read the dirty bitmap: rounds begun. */
  readonly dirtySyncCount: number;
  /** QEMU's measured rate in Mbit/s. */
  readonly mbps: number;
  readonly zeroPages: number;
  readonly normalPages: number;
  /** Guest memory that these pages are. */
  readonly sentBytes: number;
}

/** How QEMU slows the guest down (auto-converge), in percent of its processors' time, 1 to 99. */
export interface Throttle {
  /** With the first step, and with each further one. */
  readonly initialPercent: number;
  readonly incrementPercent: number;
  readonly maxPercent: number;
}

/**
 * The least that QEMU can be told. Auto-converge can only be turned on before a migration, so a migration that may need it
 * begins with this.
 */
export const neutralThrottle: Throttle = { initialPercent: 1, incrementPercent: 1, maxPercent: 1 };

/** A typed subset of `query-migrate`. */
export interface MigrationInfo {
  readonly status: MigrationStatus;
  readonly errorDescription: string | null;
  readonly totalMs: number | null;
  readonly downtimeMs: number | null;
  readonly expectedDowntimeMs: number | null;
  /** How much QEMU slows the guest down, in percent; 0 if it does not. */
  readonly throttlePercent: number;
  readonly ram: MigrationRam | null;
}

/** Whether a migration in that state is over. */
export function isFinal(status: MigrationStatus): status is FinalStatus {
  return status === "completed" || status === "failed" || status === "cancelled";
}

/** Asks QEMU how its migration is doing. In the completion phase it answers only while the stream is read. */
export async function queryMigration(
  qmp: QmpClient,
  options: { readonly timeoutMs?: number } = {},
): Promise<MigrationInfo> {
  return decodeMigrationInfo(await qmp.execute("query-migrate", undefined, options));
}

/** Decodes the answer to `query-migrate`; missing numbers are 0 in `ram` and null outside. */
export function decodeMigrationInfo(answer: unknown): MigrationInfo {
  const info = isObject(answer) ? answer : {};
  const status = info["status"];
  const description = info["error-desc"];
  return {
    status: typeof status === "string" ? status : "none",
    errorDescription: typeof description === "string" ? description : null,
    totalMs: numberOr(info["total-time"], null),
    downtimeMs: numberOr(info["downtime"], null),
    expectedDowntimeMs: numberOr(info["expected-downtime"], null),
    throttlePercent: numberOr(info["cpu-throttle-percentage"], 0),
    ram: isObject(info["ram"]) ? decodeRam(info["ram"]) : null,
  };
}

/**
 * Turns the required and, where they exist, the wished capabilities on and every other one off.
 * Throws `OperationError` when QEMU does not have a required one.
 */
export async function setCapabilities(
  qmp: QmpClient,
  wanted: { readonly required: readonly string[]; readonly wished?: readonly string[] },
): Promise<void> {
  const known = await qmp.execute<{ capability: string; state: boolean }[]>("query-migrate-capabilities");
  const missing = wanted.required.filter((name) => !known.some(({ capability }) => capability === name));
  if (missing.length > 0) {
    throw new OperationError(
      "failed",
      `Cannot migrate: this QEMU lacks the capability ${missing.join(", ")}`,
    );
  }
  const on = new Set([...wanted.required, ...(wanted.wished ?? [])]);
  const changes = known
    .filter(({ capability, state }) => state !== on.has(capability))
    .map(({ capability }) => ({ capability, state: on.has(capability) }));
  if (changes.length > 0) await qmp.execute("migrate-set-capabilities", { capabilities: changes });
}

/**
 * Sets the parameters of an outgoing migration over a plain socket. Values that somebody left there and that
 * would change the stream or QEMU's idea of the link are put back where this QEMU has them.
 */
export async function setOutgoingParameters(
  qmp: QmpClient,
  parameters: { readonly downtimeLimitMs: number; readonly maxBandwidthBytesPerSecond: number },
): Promise<void> {
  const present = await qmp.execute<QmpObject>("query-migrate-parameters");
  const neutral: QmpObject = {
    "tls-creds": "",
    "tls-hostname": "",
    "avail-switchover-bandwidth": 0,
    mode: "normal",
  };
  const changes = Object.entries(neutral).filter(
    ([name, value]) => name in present && present[name] !== value,
  );
  await qmp.execute("migrate-set-parameters", {
    ...Object.fromEntries(changes),
    "downtime-limit": parameters.downtimeLimitMs,
    "max-bandwidth": parameters.maxBandwidthBytesPerSecond,
  });
}

/** Sets how auto-converge slows the guest down, also while a migration goes on. */
export async function setThrottle(qmp: QmpClient, throttle: Throttle): Promise<void> {
  await qmp.execute("migrate-set-parameters", {
    "cpu-throttle-initial": throttle.initialPercent,
    "cpu-throttle-increment": throttle.incrementPercent,
    "max-cpu-throttle": throttle.maxPercent,
  });
}

function decodeRam(ram: QmpObject): MigrationRam {
  const pages = numberOr(ram["duplicate"], 0) + numberOr(ram["normal"], 0);
  return {
    remainingBytes: numberOr(ram["remaining"], 0),
    transferredBytes: numberOr(ram["transferred"], 0),
    totalBytes: numberOr(ram["total"], 0),
    pageSizeBytes: numberOr(ram["page-size"], 0),
    dirtyPagesPerSecond: numberOr(ram["dirty-pages-rate"], 0),
    dirtySyncCount: numberOr(ram["dirty-sync-count"], 0),
    mbps: numberOr(ram["mbps"], 0),
    zeroPages: numberOr(ram["duplicate"], 0),
    normalPages: numberOr(ram["normal"], 0),
    sentBytes: pages * numberOr(ram["page-size"], 0),
  };
}

function numberOr<T>(value: unknown, otherwise: T): number | T {
  return typeof value === "number" ? value : otherwise;
}

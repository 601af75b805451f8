/**
 * The baseline that the demo compares with: QEMU's own pre-copy, from one QEMU to another over an emulated link.
 */

import { OperationError } from "../errors.ts";
import { isRunning, type QmpClient } from "../qemu/qmp-client.ts";
import type { QmpEvent, QmpObject } from "../qemu/qmp-messages.ts";
import type { LinkStats } from "./link-emulator.ts";

/** How often QEMU is asked how far it is, in milliseconds. */
const POLL_MS = 100;

/** QEMU's own limit out of the way, in bytes per second: the link sets the pace. */
const UNLIMITED_BANDWIDTH = 2 ** 40;

/** What `runPrecopy` needs of a link; both `Link` and `RemoteLink` have it. */
export interface PrecopyLink {
  readonly host: string;
  readonly port: number;
  stats(): LinkStats | Promise<LinkStats>;
  close(): Promise<void>;
}

/**
 * What QEMU may do to send less: nothing; deltas against a cache of pages that it has sent; zstd in several threads
 * on several connections.
 */
export type PrecopyVariant = "plain" | "xbzrle" | "multifd-zstd";

/** What a variant sets at both QEMUs, beside the other variants' capabilities being off. */
const variants: Readonly<Record<PrecopyVariant, { capability: string | null; parameters: QmpObject }>> = {
  plain: { capability: null, parameters: {} },
  xbzrle: { capability: "xbzrle", parameters: {} },
  "multifd-zstd": { capability: "multifd", parameters: { "multifd-compression": "zstd" } },
};

/** One pre-copy migration. */
export interface PrecopyOptions {
  /** The QEMU whose VM runs. */
  readonly source: QmpClient;
  /** A QEMU of the same shape, started with `-incoming defer`. */
  readonly destination: QmpClient;
  /** Makes the link to the port that the destination listens on; it is closed at the end. */
  readonly openLink: (host: string, port: number) => Promise<PrecopyLink>;
  /** Default 300. */
  readonly downtimeLimitMs?: number;
  /** Default `plain`. Cache size, zstd's level and the number of connections are QEMU's defaults. */
  readonly variant?: PrecopyVariant;
  /** Awaited when the VM is stopped and QEMU has still to let its disks go. */
  readonly beforeSwitchover?: () => Promise<void>;
  readonly onProgress?: (progress: PrecopyProgress) => void;
  /** Cancels the migration; the VM stays at the source. */
  readonly signal?: AbortSignal;
}

/** How far QEMU is. */
export interface PrecopyProgress {
  readonly elapsedMs: number;
  readonly transferredBytes: number;
  readonly remainingBytes: number;
  readonly rounds: number;
}

/** What a migration cost. */
export interface PrecopyResult {
  /** From the command to the VM running at the destination, by the same clock. */
  readonly totalMs: number;
  /** QEMU's own figure: the source's view, which leaves out what is still in buffers and on the link. */
  readonly downtimeMs: number;
  /** From the source's STOP event to the destination's RESUME event, by the clock of this machine that both QEMUs read. */
  readonly stopToRunMs: number;
  /** Payload bytes over the link, both directions. */
  readonly wireBytes: number;
  /** Bytes that QEMU counted as sent for RAM. */
  readonly ramBytes: number;
  /** Passes over the dirty bitmap. */
  readonly rounds: number;
}

interface MigrationInfo {
  readonly status?: string;
  readonly downtime?: number;
  readonly "error-desc"?: string;
  readonly "socket-address"?: readonly {
    readonly type: string;
    readonly host?: string;
    readonly port?: string;
  }[];
  readonly ram?: {
    readonly transferred: number;
    readonly remaining: number;
    readonly "dirty-sync-count": number;
  };
}

/**
 * Migrates a running VM with QEMU's own pre-copy and waits until it runs at the destination. The source's QEMU stays
 * in postmigrate. Throws `OperationError`, with reason `aborted` when QEMU reports a failure; with `signal`
 * aborted, cancels and throws the signal's reason. The VM then runs at the source.
 */
export async function runPrecopy(options: PrecopyOptions): Promise<PrecopyResult> {
  const { source, destination, signal } = options;
  signal?.throwIfAborted();
  if (!(await isRunning(source))) throw new OperationError("failed", "Cannot migrate: the VM does not run");
  for (const qmp of [destination, source]) await useVariant(qmp, options.variant ?? "plain");
  const address = await listen(destination);
  const link = await options.openLink(address.host, address.port);
  const stopped = new EventTime(source, "STOP");
  const resumed = new EventTime(destination, "RESUME");
  const pause = options.beforeSwitchover && new SwitchoverPause(source, options.beforeSwitchover);
  try {
    await pause?.enable();
    await source.execute("migrate-set-parameters", {
      "downtime-limit": options.downtimeLimitMs ?? 300,
      "max-bandwidth": UNLIMITED_BANDWIDTH,
    });
    const startMs = performance.now();
    const startedAtMs = Date.now();
    await source.execute("migrate", { uri: `tcp:${link.host}:${link.port}` });
    const info = await completion(options, startMs, pause);
    // The destination may have lost what the source believes it has sent.
    const runAtMs = await Promise.race([resumed.time, lost(destination)]);
    const stopAtMs = await stopped.time;
    const { aToB, bToA } = await link.stats();
    return {
      totalMs: runAtMs - startedAtMs,
      downtimeMs: info.downtime ?? 0,
      stopToRunMs: runAtMs - stopAtMs,
      wireBytes: aToB + bToA,
      ramBytes: info.ram?.transferred ?? 0,
      rounds: info.ram?.["dirty-sync-count"] ?? 0,
    };
  } finally {
    stopped.close();
    resumed.close();
    pause?.close();
    await link.close();
  }
}

/** Sets capabilities and parameters; both sides of a migration must agree on them before one of them begins. */
async function useVariant(qmp: QmpClient, variant: PrecopyVariant): Promise<void> {
  const { capability: wanted, parameters } = variants[variant];
  const capabilities = Object.values(variants).flatMap(({ capability }) =>
    capability === null ? [] : [{ capability, state: capability === wanted }],
  );
  await qmp.execute("migrate-set-capabilities", { capabilities });
  await qmp.execute("migrate-set-parameters", parameters);
}

/** Lets a QEMU listen on a free port of the loopback interface. */
async function listen(destination: QmpClient): Promise<{ host: string; port: number }> {
  await destination.execute("migrate-incoming", { uri: "tcp:127.0.0.1:0" });
  const info = await destination.execute<MigrationInfo>("query-migrate");
  const address = info["socket-address"]?.find(({ type }) => type === "inet");
  if (address?.host === undefined || address.port === undefined) {
    throw new OperationError("failed", "Cannot migrate: the destination QEMU does not tell its port");
  }
  return { host: address.host, port: Number(address.port) };
}

async function completion(
  options: PrecopyOptions,
  startMs: number,
  pausing: SwitchoverPause | undefined,
): Promise<MigrationInfo> {
  const { source, signal, onProgress } = options;
  let isCancelled = false;
  for (;;) {
    if (pausing?.failure !== undefined) throw pausing.failure;
    const info = await source.execute<MigrationInfo>("query-migrate");
    if (info.status === "completed") return info;
    if (info.status === "failed" || info.status === "cancelled") {
      if (isCancelled) throw signal?.reason;
      throw new OperationError(
        "aborted",
        `Migration failed: ${info["error-desc"] ?? "QEMU does not say why"}`,
      );
    }
    if (info.ram !== undefined) {
      onProgress?.({
        elapsedMs: performance.now() - startMs,
        transferredBytes: info.ram.transferred,
        remainingBytes: info.ram.remaining,
        rounds: info.ram["dirty-sync-count"],
      });
    }
    if (signal?.aborted === true && !isCancelled) {
      isCancelled = true;
      await source.execute("migrate_cancel");
    }
    await pause(POLL_MS, isCancelled ? undefined : signal);
  }
}

/** Resolves after a time, or at once when the signal is raised. */
function pause(durationMs: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, durationMs);
    signal?.addEventListener("abort", end, { once: true });
  });
}

async function lost(destination: QmpClient): Promise<never> {
  await destination.closed;
  throw new OperationError(
    "failed",
    "Migration failed: the destination QEMU ended after the source had let go",
  );
}

/** QEMU waits, the VM stopped, until something was done. */
class SwitchoverPause {
  failure: unknown;
  readonly close: () => void;
  readonly #source: QmpClient;

  constructor(source: QmpClient, work: () => Promise<void>) {
    this.#source = source;
    this.close = source.onEvent(({ name, data }: QmpEvent) => {
      if (name !== "MIGRATION" || data["status"] !== "pre-switchover") return;
      work()
        .then(() => source.execute("migrate-continue", { state: "pre-switchover" }))
        .catch((error) => {
          this.failure = error;
        });
    });
  }

  async enable(): Promise<void> {
    const names = ["events", "pause-before-switchover"];
    const capabilities = names.map((capability) => ({ capability, state: true }));
    await this.#source.execute("migrate-set-capabilities", { capabilities });
  }
}

/** When an event first happened after this was made, in milliseconds since 1970, as QEMU says. */
class EventTime {
  readonly time: Promise<number>;
  readonly close: () => void;

  constructor(qmp: QmpClient, name: string) {
    let resolve: (timeMs: number) => void;
    this.time = new Promise((done) => {
      resolve = done;
    });
    this.close = qmp.onEvent((event: QmpEvent) => {
      if (event.name === name) resolve(event.timestampMs);
    });
  }
}

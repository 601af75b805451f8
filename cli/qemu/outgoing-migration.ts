/**
 * The source side of a migration: QEMU sends its stream into our socket, and we answer in place of a
 * destination. This file moves bytes and decides nothing.
 *
 *     setup ─► active ─► pre-switchover ─► device ─► completed        (device: until SHUT 0 is answered)
 *                │             │              │
 *                └─────────────┴──────────────┴────► failed | cancelled   the VM runs again
 *
 * The return path, from us to QEMU, big-endian; every message is `be16 type, be16 length, data`:
 *
 *     00 01 00 04 be32 code    SHUT   end; code 0 says that the destination has everything
 *     00 02 00 04 be32 value   PONG   answers a PING with its value
 *
 * While it is open, our death makes QEMU fail the migration and go on. Only SHUT 0 lets the VM go.
 */

import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { messageOf, OperationError } from "../errors.ts";
import { type Deferred, deferred } from "./deferred.ts";
import {
  isFinal,
  type MigrationInfo,
  type MigrationStatus,
  neutralThrottle,
  queryMigration,
  setCapabilities,
  setOutgoingParameters,
  setThrottle,
  type Throttle,
} from "./migration-info.ts";
import { connectQemu } from "./outgoing-connection.ts";
import { isRunning, type QmpClient } from "./qmp-client.ts";
import { QmpClosedError, QmpError, type QmpEvent } from "./qmp-messages.ts";
import { StuckCancel } from "./stuck-cancel.ts";

const RETURN_SHUT = 1;
const RETURN_PONG = 2;
const POLL_MS = 20;
/** How long QEMU may take to end an aborted migration and run the VM again, in milliseconds. */
const ABORT_TIMEOUT_MS = 30_000;
/** How long what QEMU has sent may take to be read once it has closed its end, in milliseconds. */
const READ_OUT_MS = 5_000;
/** How long an aborted VM may take to run again by itself, before `cont` is sent, in milliseconds. */
const RESUME_GRACE_MS = 2_000;

/** Options of `startOutgoing`. */
export interface OutgoingOptions {
  /** Where to listen; its folder is made private (0700). */
  readonly socketPath: string;
  /** Passes on the stream. A chunk belongs to the callee. If it throws, the migration is aborted with that error. */
  readonly onData: (chunk: Buffer) => void;
  /** QEMU's own limit of the downtime at first; 1 keeps it from stopping the VM on a guess. */
  readonly downtimeLimitMs?: number;
  /** QEMU's own limit of its rate at first; practically none by default, our reading paces it. */
  readonly maxBandwidthBytesPerSecond?: number;
  /** True if the guest may have to be slowed down: see `throttle`. */
  readonly canThrottle?: boolean;
  /** True if it is to be cancelled before its end: then QEMU from 8.1 on never stops the VM for it, since nobody acknowledges that. */
  readonly isPassOnly?: boolean;
}

/**
 * Starts a migration out of a QEMU and takes its connection. Rejects when QEMU refuses; the VM then runs on.
 * `onData` is not called before the caller has the result.
 */
export async function startOutgoing(qmp: QmpClient, options: OutgoingOptions): Promise<OutgoingMigration> {
  const { status } = await queryMigration(qmp);
  if (status !== "none" && !isFinal(status)) {
    throw new OperationError("failed", `Cannot start a migration: QEMU has one already, in state ${status}`);
  }
  const wasRunning = await isRunning(qmp);
  const required = ["events", "return-path", "pause-before-switchover"];
  if (options.canThrottle) {
    required.push("auto-converge");
    await setThrottle(qmp, neutralThrottle);
  }
  await setCapabilities(qmp, { required, wished: options.isPassOnly ? ["switchover-ack"] : [] });
  await setOutgoingParameters(qmp, {
    downtimeLimitMs: options.downtimeLimitMs ?? 1,
    maxBandwidthBytesPerSecond: options.maxBandwidthBytesPerSecond ?? Number.MAX_SAFE_INTEGER,
  });
  const socket = await connectQemu(qmp, options.socketPath);
  return new OutgoingMigration(qmp, socket, wasRunning, options.onData);
}

/** A migration out of a QEMU, whose stream comes to `onData`. */
export class OutgoingMigration {
  /** Resolves when QEMU has stopped the VM and waits for `continueSwitchover`. Rejects if it fails before. */
  readonly preSwitchover: Promise<void>;
  /** Resolves when QEMU has let the VM go: paused, in postmigrate. Rejects if the migration fails. */
  readonly completed: Promise<void>;
  /** Resolves with the reason when the migration fails or is cancelled; stays open when it completes. */
  readonly failed: Promise<string>;
  /** Resolves when QEMU has closed its end of the stream, or the connection is gone. */
  readonly ended: Promise<void>;

  readonly #qmp: QmpClient;
  readonly #stuck: StuckCancel;
  readonly #socket: Socket;
  readonly #wasRunning: boolean;
  readonly #preSwitchover = deferred();
  readonly #completed = deferred();
  readonly #failed = deferred<string>();
  readonly #ended: Deferred<void> = deferred();
  readonly #unsubscribe: () => void;
  readonly #begin: NodeJS.Immediate;
  #status: MigrationStatus = "setup";
  #stoppedAt: number | null = null;
  #isReleased = false;
  #isReadOut = false;
  #dataError: unknown;

  /** Use `startOutgoing`. */
  constructor(qmp: QmpClient, socket: Socket, wasRunning: boolean, onData: (chunk: Buffer) => void) {
    this.#qmp = qmp;
    this.#stuck = new StuckCancel(qmp);
    this.#socket = socket;
    this.#wasRunning = wasRunning;
    this.preSwitchover = this.#preSwitchover.promise;
    this.completed = this.#completed.promise;
    this.failed = this.#failed.promise;
    this.ended = this.#ended.promise;
    this.#unsubscribe = qmp.onEvent((event) => this.#onEvent(event));
    qmp.closed.then(() => this.#settle("failed", "QEMU's control connection ended"));
    socket.on("data", (chunk) => this.#deliver(chunk, onData));
    socket.on("end", this.#ended.resolve);
    socket.on("error", () => {});
    socket.on("close", () => {
      this.#ended.resolve();
      this.#follow().catch(() => {});
    });
    this.#begin = setImmediate(() => socket.resume());
  }

  /** The last state that QEMU reported. */
  get status(): MigrationStatus {
    return this.#status;
  }

  /** When the VM stopped, by QEMU's clock in milliseconds since 1970; null if it has not stopped so far. */
  get stoppedAt(): number | null {
    return this.#stoppedAt;
  }

  /** Milliseconds since then, by this host's clock; 0 if it has not stopped so far. */
  get stoppedForMs(): number {
    return this.#stoppedAt === null ? 0 : Math.max(0, Math.round(Date.now() - this.#stoppedAt));
  }

  /**
   * Stops reading, so that QEMU waits. A few chunks may still come. Not for long without a low
   * `setMaxBandwidth` first (QEMU would wait with locks held), and not after `continueSwitchover`.
   */
  pause(): void {
    clearImmediate(this.#begin);
    this.#socket.pause();
  }

  /** Reads on. */
  resume(): void {
    this.#socket.resume();
  }

  /** Sets QEMU's own limit of the downtime, in whole milliseconds. A high one lets it stop the VM now. */
  async setDowntimeLimit(ms: number): Promise<void> {
    await this.#qmp.execute("migrate-set-parameters", { "downtime-limit": ms });
  }

  /** Sets QEMU's own limit of its rate. */
  async setMaxBandwidth(bytesPerSecond: number): Promise<void> {
    await this.#qmp.execute("migrate-set-parameters", { "max-bandwidth": bytesPerSecond });
  }

  /** Lets QEMU slow the guest down from now on, until the migration ends. Needs `canThrottle`. */
  async throttle(throttle: Throttle): Promise<void> {
    await setThrottle(this.#qmp, throttle);
  }

  /** Asks QEMU how far it is. In the completion phase it answers only while the stream is read. */
  query(options: { readonly timeoutMs?: number } = {}): Promise<MigrationInfo> {
    return queryMigration(this.#qmp, options);
  }

  /** Lets QEMU send the rest, from pre-switchover on, and reads it at full speed. */
  async continueSwitchover(): Promise<void> {
    this.resume();
    await this.#qmp.execute("migrate-continue", { state: "pre-switchover" });
  }

  /** Answers a PING that was in the stream. */
  answerPong(value: number): void {
    this.#answer(RETURN_PONG, value);
  }

  /**
   * Ends the return path. 0: the destination has everything, QEMU completes and the VM stays stopped here;
   * anything else: the migration fails and the VM runs on here. After 0 `abort` is refused.
   */
  answerShut(code: number): void {
    // First, so that no abort can come between.
    this.#isReleased ||= code === 0;
    this.#answer(RETURN_SHUT, code);
  }

  /**
   * Gives up: the migration ends as failed or cancelled, and the VM runs again if it ran before. It stays as it is with
   * `leaveStopped`, and where it stands still by somebody else's will. Rejects with `OperationError` after SHUT 0, or when QEMU does not
   * come back in time.
   */
  async abort({ leaveStopped = false }: { readonly leaveStopped?: boolean } = {}): Promise<void> {
    if (this.#isReleased) {
      throw new OperationError(
        "failed",
        "Cannot abort the migration: QEMU was already told that it succeeded",
      );
    }
    this.#socket.destroy();
    const deadline = Date.now() + ABORT_TIMEOUT_MS;
    if (!isFinal(this.#status)) {
      await this.#qmp
        .execute("migrate_cancel", undefined, { timeoutMs: ABORT_TIMEOUT_MS })
        .catch(ignoreRefusal);
      await this.#follow(deadline);
    }
    if (this.#status === "completed") {
      throw new OperationError("failed", "Cannot abort the migration: it has completed");
    }
    if (this.#qmp.isClosed || !this.#wasRunning || leaveStopped || (await this.isStoppedByOthers())) return;
    await ensureRunning(this.#qmp, deadline);
  }

  /**
   * Gives up as `abort` does, but reads what QEMU has sent by then. Rejects with `OperationError` when QEMU does not come back in time.
   */
  async cancelAndRead(options: { readonly leaveStopped: boolean }): Promise<void> {
    const deadline = Date.now() + ABORT_TIMEOUT_MS;
    this.#isReadOut = true;
    // Meanwhile QEMU comes no further than its socket lets it.
    this.pause();
    if (!isFinal(this.#status)) {
      await this.#qmp
        .execute("migrate_cancel", undefined, { timeoutMs: ABORT_TIMEOUT_MS })
        .catch(ignoreRefusal);
      this.resume();
      await this.#follow(deadline);
    }
    this.resume();
    await Promise.race([this.ended, sleep(READ_OUT_MS)]);
    await this.abort(options);
  }

  /** True if the VM stands still by an operator's will, or for an error of a disk: then it is not for us to let it run. */
  async isStoppedByOthers(): Promise<boolean> {
    // The migration itself has stopped it: no time is lost with questions.
    if (this.#status === "pre-switchover") return false;
    const answer = await this.#qmp.execute<{ status: string }>("query-status").catch(() => null);
    return answer !== null && answer.status !== "running" && answer.status !== "finish-migrate";
  }

  #deliver(chunk: Buffer, onData: (chunk: Buffer) => void): void {
    if (this.#dataError !== undefined) return;
    try {
      onData(chunk);
    } catch (error) {
      this.#dataError = error;
      this.abort().catch((problem) => this.#settle("failed", messageOf(problem)));
    }
  }

  #answer(type: number, value: number): void {
    const message = Buffer.alloc(8);
    message.writeUInt16BE(type, 0);
    message.writeUInt16BE(4, 2);
    message.writeUInt32BE(value, 4);
    if (!this.#socket.writable) {
      throw new OperationError("failed", "Cannot answer QEMU: its migration connection is closed");
    }
    this.#socket.write(message);
  }

  #onEvent(event: QmpEvent): void {
    if (event.name === "STOP") this.#stoppedAt = event.timestampMs;
    if (event.name !== "MIGRATION" || typeof event.data["status"] !== "string") return;
    const status: MigrationStatus = event.data["status"];
    if (status === "failed" || status === "cancelled") this.#follow().catch(() => {});
    else this.#settle(status, "");
  }

  /** Asks for the state until it is final: events say nothing of the reason, and may come before the end. */
  async #follow(deadline: number = Number.POSITIVE_INFINITY): Promise<void> {
    while (!isFinal(this.#status)) {
      let info: MigrationInfo;
      try {
        info = await this.query();
        await this.#stuck.seen(info.status);
      } catch (error) {
        this.#settle("failed", messageOf(error));
        return;
      }
      if (isFinal(info.status)) {
        this.#settle(info.status, info.errorDescription ?? `QEMU's migration was ${info.status}`);
        return;
      }
      if (Date.now() > deadline) {
        throw new OperationError("failed", `Cannot end the migration: QEMU stays in state ${info.status}`);
      }
      await sleep(POLL_MS);
    }
  }

  #settle(status: MigrationStatus, reason: string): void {
    if (isFinal(this.#status)) return;
    this.#status = status;
    if (status === "pre-switchover") this.#preSwitchover.resolve();
    if (!isFinal(status)) return;
    this.#unsubscribe();
    if (status === "completed") {
      this.#completed.resolve(untilFinalized(this.#qmp));
      // QEMU closes its end only: ours, and all that it keeps alive, would stay.
      this.ended.then(() => this.#socket.destroy());
      return;
    }
    const why = this.#dataError === undefined ? reason : messageOf(this.#dataError);
    const error = new OperationError("aborted", `Migration ${status} at the source: ${why}`, {
      cause: this.#dataError,
    });
    this.#failed.resolve(why);
    this.#preSwitchover.reject(error);
    this.#completed.reject(error);
    if (!this.#isReadOut) this.#socket.destroy();
  }
}

/**
 * Ends a migration whose reader has died: while QEMU waits for `migrate-continue` it does not notice, and refuses `cont`.
 * The VM may run when the promise resolves.
 */
export async function endLeftMigration(qmp: QmpClient): Promise<void> {
  const { status } = await queryMigration(qmp);
  if (status === "pre-switchover") await qmp.execute("migrate_cancel");
  await untilFinalized(qmp);
}

/** QEMU says `completed` a moment before it is in postmigrate, and refuses `cont` in between. Resolves when it does not. */
async function untilFinalized(qmp: QmpClient): Promise<void> {
  const stuck = new StuckCancel(qmp);
  try {
    while ((await qmp.execute<{ status: string }>("query-status")).status === "finish-migrate") {
      await stuck.seen((await queryMigration(qmp)).status);
      await sleep(POLL_MS);
    }
  } catch (error) {
    // A QEMU that dies now has let the VM go all the same.
    if (!(error instanceof QmpClosedError)) throw error;
  }
}

async function ensureRunning(qmp: QmpClient, deadline: number): Promise<void> {
  const grace = Date.now() + RESUME_GRACE_MS;
  while (!(await isRunning(qmp))) {
    if (Date.now() > deadline)
      throw new OperationError("failed", "Cannot resume the VM: QEMU keeps it stopped");
    if (Date.now() > grace) await qmp.execute("cont");
    await sleep(POLL_MS);
  }
}

/** A QEMU that is gone or that has nothing to cancel needs no cancelling. */
function ignoreRefusal(error: unknown): void {
  if (!(error instanceof QmpClosedError || error instanceof QmpError)) throw error;
}

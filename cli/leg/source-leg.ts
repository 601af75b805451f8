/**
 * One migration, seen from the source. The order of the handover, and why, is in docs/PROTOCOL.md; what may
 * follow what is the table in state-machine.ts.
 */

import { randomUUID } from "node:crypto";
import { performance } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { toHex } from "../../src/bytes.ts";
import { type Core, loadCore } from "../../src/core.ts";
import { messageOf, OperationError } from "../errors.ts";
import type { MigrationInfo } from "../qemu/migration-info.ts";
import type { StoredGeneration } from "../store/generation-reader.ts";
import { IntegrityLedger } from "../store/integrity.ts";
import type { OwnershipRecord } from "../store/ownership.ts";
import { abortError, type Incoming, type PeerConnection, protocolError } from "../wan/connection.ts";
import { type CommonBase, findCommonBase, ownBaseOf } from "./common-base.ts";
import { legCoreBytes } from "./leg-core.ts";
import { LegProgress } from "./progress.ts";
import { Replies } from "./replies.ts";
import type { LegResult, SourceLegContext, SourceOutcome } from "./source-context.ts";
import { SourcePump, type StreamEnd } from "./source-pump.ts";
import { SourceQemu } from "./source-qemu.ts";
import { type SourceState, StateMachine, sourceTransitions } from "./state-machine.ts";
import { decideSwitchover } from "./switchover.ts";

const offerTimeoutMs = 30_000;
const preparedTimeoutMs = 60_000;
const runningTimeoutMs = 15_000;
/** Silence of QEMU, after it has stopped the VM, that means that its stream will not end. */
const streamQuietMs = 10_000;
const pollMs = 50;
/** What QEMU is told when it may stop at once; its own guess does not matter then. */
const openDowntimeLimitMs = 60_000;

/** Runs one leg. Throws OperationError "aborted" when the VM goes on at the source. */
export class SourceLeg {
  private readonly context: SourceLegContext;
  private readonly machine: StateMachine<SourceState>;
  private readonly legId = randomUUID();
  private readonly startedAt = performance.now();
  private failure: Error | null = null;
  private failed: (error: Error) => void = () => {};
  private readonly failing: Promise<never>;
  private readonly replies: Replies;
  private readonly qemu: SourceQemu;
  private lastInfo: MigrationInfo | null = null;
  private isReleased = false;

  constructor(context: SourceLegContext) {
    this.context = context;
    this.machine = new StateMachine(sourceTransitions, "negotiating", context.onState);
    this.failing = new Promise((_resolve, reject) => {
      this.failed = (error) => {
        this.failure ??= error;
        reject(this.failure);
      };
    });
    this.failing.catch(() => {});
    this.replies = new Replies(context.peer);
    // QEMU needs a while until its first page comes: it begins while the peer is asked what it has.
    const onFailed = (reason: string) =>
      this.failed(new OperationError("aborted", `QEMU ended the migration: ${reason}`));
    this.qemu = new SourceQemu(context.qmp, context.runPath, onFailed, context.warn);
  }

  async run(): Promise<SourceOutcome> {
    const { signal } = this.context;
    const onAbort = () => {
      // After RELEASED only the other site's answer, or an operator, decides.
      if (!this.isReleased) this.failed(new OperationError("aborted", "Migration cancelled"));
    };
    if (signal.aborted) onAbort();
    signal.addEventListener("abort", onAbort);
    const core = await loadCore({ initialBytes: legCoreBytes });
    let connection: PeerConnection | null = null;
    let pump: SourcePump | null = null;
    try {
      const record = await this.context.ownership.read(this.context.definition.name);
      connection = await this.race(this.context.connect());
      const { base, generation } = await this.negotiate(core, connection, record);
      pump = this.makePump(core, connection, base, generation);
      const end = await this.sendEverything(connection, pump);
      return await this.handOver(core, connection, pump, end, record);
    } catch (error) {
      connection?.send({ type: "abort", reason: "cancelled", message: messageOf(error).slice(0, 1000) });
      connection?.close();
      await this.qemu.giveUp(this.machine.state === "completing");
      if (pump?.isEstablished) await pump.writer.discard();
      await this.doubtBase(pump);
      this.machine.go("aborted");
      throw this.context.qmp.isClosed ? asLost(error) : asAborted(error);
    } finally {
      signal.removeEventListener("abort", onAbort);
      pump?.release();
    }
  }

  private async negotiate(core: Core, connection: PeerConnection, record: OwnershipRecord) {
    const { definition, ramBlock, key, store, peer, accelerator } = this.context;
    const { name, machine, cpu, memoryBytes } = definition;
    const { generations } = await store.list();
    const newest = generations.at(-1)?.manifest.generation ?? 0;
    connection.send({
      type: "prepare",
      leg: this.legId,
      vm: { name, machine, cpu, memoryBytes, accelerator },
      ramBlock,
      epoch: record.epoch + 1,
      key: toHex(key),
    });
    const offer = await this.race(connection.expect("offer", offerTimeoutMs));
    const generation = Math.max(newest, record.generation, ...offer.have.map((one) => one.generation)) + 1;
    const base = await findCommonBase({ core, key, store, offered: offer.have, warn: this.context.warn });
    if (base.mode === "nothing" && newest > 0 && offer.have.length > 0) {
      this.context.warn(
        `${peer} holds generations of ${name}, but none that is known here: everything is sent`,
      );
    }
    return { base, generation };
  }

  private makePump(core: Core, connection: PeerConnection, base: CommonBase, generation: number): SourcePump {
    const { definition, ramBlock, key, store } = this.context;
    const { name: vm, memoryBytes } = definition;
    const { generationsPath } = store;
    const pump = new SourcePump({
      core,
      connection,
      key,
      base,
      ramBlock,
      memoryBytes,
      target: { generationsPath, vm, generation, legId: this.legId },
      onBaseDropped: (reason) => this.context.warn(`Everything is sent: ${reason}`),
    });
    connection.onLost(this.failed);
    connection.receiveWith((incoming) => this.receive(incoming, pump));
    return pump;
  }

  private receive(incoming: Incoming, pump: SourcePump): void {
    const { peer } = this.context;
    if ("frame" in incoming) this.failed(protocolError(peer, "a frame came where none belongs"));
    else if (incoming.message.type === "ack") pump.acknowledged(incoming.message.sequence);
    else if (incoming.message.type === "abort") this.failed(abortError(incoming.message, peer));
    else if (incoming.message.type === "prepared" || incoming.message.type === "running") {
      this.replies.put(incoming.message);
    } else this.failed(protocolError(peer, `'${incoming.message.type}' came unexpectedly`));
  }

  /** Rounds until the switchover decision, then the rest. */
  private async sendEverything(connection: PeerConnection, pump: SourcePump): Promise<StreamEnd> {
    const { onProgress, definition, downtimeLimitMs } = this.context;
    this.machine.go("rounds");
    const outgoing = await this.race(this.qemu.started);
    this.qemu.pumpInto(outgoing, pump);
    const progress = new LegProgress(definition.name, definition.memoryBytes, onProgress);
    let stopped = false;
    outgoing.preSwitchover.then(
      () => {
        stopped = true;
      },
      () => {},
    );
    let gateOpen = false;
    while (!stopped) {
      pump.flush();
      const info = await this.race(outgoing.query());
      this.lastInfo = info;
      if (info.ram && pump.isEstablished) {
        const now = performance.now();
        const bytesPerSecond = pump.rate.bytesPerSecond(now);
        const decision = decideSwitchover({
          backlogBytes: pump.rate.unacknowledgedBytes,
          bytesPerSecond,
          rttMs: pump.rate.minRttMs,
          remainingBytes: info.ram.remainingBytes,
          encodedShare: progress.encodedShare(pump.encoder),
          pass: info.ram.dirtySyncCount,
          downtimeLimitMs,
        });
        progress.report(info.ram, pump.encoder, {
          wireBytes: connection.wireBytes,
          bytesPerSecond,
          ...decision,
        });
        if (decision.stopNow !== gateOpen && !stopped) {
          gateOpen = decision.stopNow;
          await this.race(outgoing.setDowntimeLimit(gateOpen ? openDowntimeLimitMs : 1));
        }
      }
      await this.race(Promise.race([outgoing.preSwitchover, sleep(pollMs)]));
    }
    this.machine.go("stopped");
    pump.drain();
    await this.race(outgoing.continueSwitchover());
    const end = await this.race(this.endOfStream(pump));
    progress.finishing();
    return end;
  }

  /** The end of the stream is recognised by its content: where that never comes, silence must end the wait. */
  private async endOfStream(pump: SourcePump): Promise<StreamEnd> {
    for (let received = -1; received !== pump.receivedBytes; ) {
      received = pump.receivedBytes;
      const end = await Promise.race([pump.ended, sleep(streamQuietMs, null)]);
      if (end !== null) return end;
    }
    throw new OperationError(
      "failed",
      "Cannot find the end of QEMU's stream: it fell silent (is suppress-vmdesc set?)",
    );
  }

  private async handOver(
    core: Core,
    connection: PeerConnection,
    pump: SourcePump,
    end: StreamEnd,
    record: OwnershipRecord,
  ): Promise<SourceOutcome> {
    const { ownership, peer, definition } = this.context;
    const outgoing = await this.qemu.started;
    const vm = definition.name;
    const root = pump.digests.root(end.digest);
    this.machine.go("finishing");
    connection.send({ type: "finish", root: toHex(root), sequence: end.sequence });
    const prepared = await this.race(this.replies.wait("prepared", preparedTimeoutMs));
    if (prepared.root !== toHex(root)) {
      throw new OperationError(
        "failed",
        `Cannot hand over ${vm}: ${peer} has built another state than was sent`,
      );
    }
    this.machine.go("completing");
    outgoing.answerShut(0);
    await this.race(outgoing.completed);
    const stoppedAt = outgoing.stoppedAt ?? Date.now();
    if (this.failure) throw this.failure;

    this.isReleased = true;
    const epoch = record.epoch + 1;
    const generation = pump.writer.generation;
    await this.release({ ...record, state: "released", epoch, peer, generation });
    this.machine.go("released");
    connection.send({ type: "commit", epoch });
    try {
      await this.race(this.replies.wait("running", runningTimeoutMs));
    } catch (error) {
      this.context.warn(`${peer} did not confirm that it runs ${vm}: ${messageOf(error)}`);
      return await this.leaveInDoubt(connection, pump, end, root, epoch);
    }
    const halfRttMs = Number.isFinite(pump.rate.minRttMs) ? pump.rate.minRttMs / 2 : 0;
    const downtimeMs = Math.max(0, Date.now() - stoppedAt - halfRttMs);
    const totalMs = performance.now() - this.startedAt;
    const { wireBytes } = connection;
    try {
      await ownership.write({ ...record, state: "away", epoch, peer, generation });
    } catch (error) {
      this.context.warn(`Cannot record that ${vm} is at ${peer}: ${messageOf(error)}`);
      return await this.leaveInDoubt(connection, pump, end, root, epoch);
    }
    this.machine.go("handed-over");
    const sealed = await this.seal(pump, end, root, epoch);
    await this.context.endQemu().catch((error) => this.context.warn(messageOf(error)));
    const result: LegResult = {
      leg: pump.usedBase.mode === "nothing" ? "first" : "return",
      generation,
      epoch,
      totalMs: Math.round(totalMs),
      downtimeMs: Math.round(downtimeMs),
      ramBytes: pump.encoder.changedBytes,
      diskBytes: 0,
      wireBytes,
      rounds: this.lastInfo?.ram?.dirtySyncCount ?? 1,
      pages: { ...pump.encoder.counts },
      root: toHex(root),
    };
    return { outcome: "done", result, connection, sealed, core };
  }

  /** Records RELEASED. If the disk refuses, it may still be there in part: the next epoch overrules it. */
  private async release(released: OwnershipRecord): Promise<void> {
    const { ownership } = this.context;
    try {
      await ownership.write(released);
    } catch (error) {
      await ownership
        .write({ ...released, state: "owned", epoch: released.epoch + 1 })
        .catch((problem) => this.context.warn(messageOf(problem)));
      throw error;
    }
  }

  /** Only the peer knows how it ended; the agent asks it. The VM stays stopped here, its state is kept. */
  private async leaveInDoubt(
    connection: PeerConnection,
    pump: SourcePump,
    end: StreamEnd,
    root: Uint8Array,
    epoch: number,
  ): Promise<SourceOutcome> {
    connection.close();
    await this.seal(pump, end, root, epoch);
    this.machine.go("in-doubt");
    return { outcome: "in-doubt", epoch };
  }

  /**
   * Completes this site's own copy: from now on it is restartable here. Null when that fails: the handover stands
   * all the same, and the generations before it are still here.
   */
  private async seal(
    pump: SourcePump,
    end: StreamEnd,
    root: Uint8Array,
    epoch: number,
  ): Promise<StoredGeneration | null> {
    try {
      return await this.sealOrThrow(pump, end, root, epoch);
    } catch (error) {
      this.context.warn(`Cannot keep generation ${pump.writer.generation} here: ${messageOf(error)}`);
      await pump.writer.discard();
      return null;
    }
  }

  private async sealOrThrow(
    pump: SourcePump,
    end: StreamEnd,
    root: Uint8Array,
    epoch: number,
  ): Promise<StoredGeneration> {
    const { site, peer, definition } = this.context;
    const manifest = await pump.writer.finish(
      {
        format: 1,
        vm: definition.name,
        generation: pump.writer.generation,
        epoch,
        from: site,
        to: peer,
        createdAt: new Date().toISOString(),
        machine: pump.machine,
        accelerator: this.context.accelerator,
      },
      pump.digests.digests,
      end,
      root,
    );
    const sealed = await pump.writer.commit(manifest);
    await new IntegrityLedger(this.context.store).record(sealed);
    return sealed;
  }

  /** A leg that failed when roots were compared may have had a damaged base: it is checked before its next use. */
  private async doubtBase(pump: SourcePump | null): Promise<void> {
    const base = pump && this.machine.state === "finishing" ? ownBaseOf(pump.usedBase) : null;
    if (base) await new IntegrityLedger(this.context.store).forget(base);
  }

  private race<T>(promise: Promise<T>): Promise<T> {
    return Promise.race([promise, this.failing]);
  }
}

/** Before RELEASED every failure means that the VM goes on here; a refusal keeps its own exit code. */
function asAborted(error: unknown): OperationError {
  if (error instanceof OperationError && (error.reason === "aborted" || error.reason === "refused"))
    return error;
  return new OperationError("aborted", `Migration aborted, the VM stays at the source: ${messageOf(error)}`, {
    cause: error,
  });
}

/** QEMU is gone, and the VM with it: this must not look like a leg after which it runs on. */
function asLost(error: unknown): OperationError {
  const why = messageOf(error);
  return new OperationError(
    "failed",
    `Migration failed, and the VM does not run any more: ${why}; 'bfmig recover' restarts a retained generation`,
    { cause: error },
  );
}

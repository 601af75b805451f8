/**
 * One migration, seen from the source. The order of the handover, and why, is in docs/PROTOCOL.md; what may
 * follow what is the table in state-machine.ts.
 */

import { performance } from "node:perf_hooks";
import { toHex } from "../../src/bytes.ts";
import { type Core, loadCore } from "../../src/core.ts";
import { noRecords } from "../../src/delta/vocabulary.ts";
import { messageOf, OperationError } from "../errors.ts";
import type { MigrationInfo } from "../qemu/migration-info.ts";
import type { OutgoingMigration } from "../qemu/outgoing-migration.ts";
import type { StoredGeneration } from "../store/generation-reader.ts";
import { IntegrityLedger } from "../store/integrity.ts";
import type { OwnershipRecord } from "../store/ownership.ts";
import { abortError, type Incoming, protocolError } from "../wan/connection.ts";
import { type CommonBase, findCommonBase, ownBaseOf } from "./common-base.ts";
import { legCoreBytes } from "./leg-core.ts";
import { diskSocketPath } from "./leg-remains.ts";
import { traceStep } from "./leg-steps.ts";
import { runLiveRounds } from "./live-rounds.ts";
import { LegProgress } from "./progress.ts";
import { isReply, Replies } from "./replies.ts";
import type { LegResult, SourceLegContext, SourceOutcome } from "./source-context.ts";
import { SourceDisks } from "./source-disks.ts";
import { type Patience, SourceLink } from "./source-link.ts";
import { SourcePump, type StreamEnd } from "./source-pump.ts";
import { SourceQemu } from "./source-qemu.ts";
import { type LegEnd, sealOwnCopy } from "./source-seal.ts";
import { type SourceState, StateMachine, sourceTransitions } from "./state-machine.ts";

const offerTimeoutMs = 30_000;
const preparedTimeoutMs = 60_000;
const runningTimeoutMs = 15_000;
/** While the VM runs on nothing is urgent. */
const livePatience = { beatMs: 2_000, silenceMs: 10_000 };
/** While the VM stands still a lost link is noticed soon, and not borne for long: the VM can run on here. */
const stoppedPatience: Patience = { timeoutMs: 2_000, beatMs: 500, silenceMs: 3_000 };
/** After RELEASED only the peer's answer helps. */
const releasedPatience: Patience = { timeoutMs: runningTimeoutMs, beatMs: 500, silenceMs: 3_000 };

/** Runs one leg. Throws OperationError "aborted" when the VM goes on at the source. */
export class SourceLeg {
  private readonly context: SourceLegContext;
  private readonly machine: StateMachine<SourceState>;
  private readonly legId: string;
  private readonly startedAt = performance.now();
  private failure: Error | null = null;
  private failed: (error: Error) => void = () => {};
  private readonly failing: Promise<never>;
  private readonly replies: Replies;
  private readonly qemu: SourceQemu;
  private readonly link: SourceLink;
  private pump: SourcePump | null = null;
  private lastInfo: MigrationInfo | null = null;
  private isReleased = false;
  private disks: SourceDisks | null = null;

  constructor(context: SourceLegContext) {
    this.context = context;
    this.legId = context.legId;
    this.machine = new StateMachine(sourceTransitions, "negotiating", (state) => {
      context.onState(state);
      traceStep({ side: "source", step: state });
    });
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
    const { legId, definition, peer, connect, reconnect, linkTimeoutMs, warn } = context;
    this.link = new SourceLink({
      legId,
      vm: definition.name,
      peer,
      connect,
      reconnect,
      patience: { ...livePatience, timeoutMs: linkTimeoutMs },
      onIncoming: (incoming) => this.receive(incoming),
      onChange: (isUp) => {
        this.pump?.linkChanged(isUp);
        this.context.onLink(isUp);
      },
      onResend: () => this.pump?.rate.restart(performance.now()),
      onFailed: this.failed,
      warn,
    });
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
    try {
      traceStep({ side: "source", step: "negotiating" });
      const record = await this.context.ownership.read(this.context.definition.name);
      await this.race(this.link.open());
      const { base, generation } = await this.negotiate(core, record);
      this.pump = this.makePump(core, base, generation);
      const end = await this.sendEverything(this.pump);
      return await this.handOver(core, this.pump, end, record);
    } catch (error) {
      this.link.close({ type: "abort", reason: "cancelled", message: messageOf(error).slice(0, 1000) });
      await this.qemu.giveUp(this.machine.state === "completing");
      await this.disks?.release();
      if (this.pump?.isEstablished) await this.pump.writer.discard();
      await this.doubtBase(this.pump);
      this.machine.go("aborted");
      throw this.context.qmp.isClosed ? asLost(error) : asAborted(error);
    } finally {
      signal.removeEventListener("abort", onAbort);
      await this.disks?.release();
      this.pump?.release();
    }
  }

  /** After `run` has failed: true if the peer may have heard of the leg, and perhaps not of its end. */
  get isKnownToPeer(): boolean {
    return this.link.wasOpen;
  }

  private async negotiate(core: Core, record: OwnershipRecord) {
    const { definition, ramBlock, key, store, peer, accelerator } = this.context;
    const { name, machine, cpu, memoryBytes } = definition;
    const disks = this.context.disks.map(({ name, lengthBytes, bus }) => ({ name, lengthBytes, bus }));
    const { generations } = await store.list();
    const newest = generations.at(-1)?.manifest.generation ?? 0;
    this.link.send({
      type: "prepare",
      leg: this.legId,
      vm: { name, machine, cpu, memoryBytes, accelerator, disks },
      ramBlock,
      epoch: record.epoch + 1,
      key: toHex(key),
      linkTimeoutMs: this.context.linkTimeoutMs,
    });
    const offer = await this.race(this.replies.wait("offer", offerTimeoutMs + this.context.linkTimeoutMs));
    const generation = Math.max(newest, record.generation, ...offer.have.map((one) => one.generation)) + 1;
    const { warn } = this.context;
    const base = await findCommonBase({ core, key, store, offered: offer.have, disks, warn });
    if (base.mode === "nothing" && newest > 0 && offer.have.length > 0) {
      this.context.warn(
        `${peer} holds generations of ${name}, but none that is known here: everything is sent`,
      );
    }
    return { base, generation };
  }

  private makePump(core: Core, base: CommonBase, generation: number): SourcePump {
    const { definition, ramBlock, key, store } = this.context;
    const { name: vm, memoryBytes } = definition;
    const { generationsPath } = store;
    return new SourcePump({
      core,
      sink: this.link,
      key,
      base,
      ramBlock,
      memoryBytes,
      hasDisks: this.context.disks.length > 0,
      target: { generationsPath, vm, generation, legId: this.legId },
      onBaseDropped: (reason) => this.context.warn(`Everything is sent: ${reason}`),
    });
  }

  private receive(incoming: Incoming): void {
    const { peer } = this.context;
    if ("frame" in incoming) this.failed(protocolError(peer, "a frame came where none belongs"));
    else if (incoming.message.type === "ack") this.pump?.acknowledged(incoming.message.sequence);
    else if (incoming.message.type === "abort") this.failed(abortError(incoming.message, peer));
    else if (isReply(incoming.message)) this.replies.put(incoming.message);
    else this.failed(protocolError(peer, `'${incoming.message.type}' came unexpectedly`));
  }

  /** Rounds until the switchover decision, then the rest. */
  private async sendEverything(pump: SourcePump): Promise<StreamEnd> {
    const { onProgress, definition, downtimeLimitMs } = this.context;
    this.machine.go("rounds");
    const attached = (outgoing: OutgoingMigration) => {
      this.qemu.pumpInto(outgoing, pump);
      return outgoing;
    };
    const { end, info } = await runLiveRounds({
      link: this.link,
      pump,
      start: async () => attached(await this.qemu.started),
      startAgain: async () => {
        await this.qemu.abandon();
        this.context.warn(
          "QEMU had nothing more to send while the link is lost: it begins again when it is back",
        );
        await this.link.untilUp();
        return attached(await this.qemu.startAgain());
      },
      openDisks: () => this.openDisks(pump),
      progress: new LegProgress(definition.name, definition.memoryBytes, onProgress),
      downtimeLimitMs,
      race: (promise) => this.race(promise),
      onFailed: this.failed,
      onStopped: () => {
        this.link.setPatience(stoppedPatience);
        this.machine.go("stopped");
      },
    });
    this.lastInfo = info;
    return end;
  }

  private async openDisks(pump: SourcePump): Promise<SourceDisks | null> {
    const { disks, key, qmp, store, runPath, warn } = this.context;
    if (disks.length === 0) return null;
    this.disks = await SourceDisks.begin({
      core: pump.core,
      key,
      qmp,
      store,
      legId: this.legId,
      disks,
      base: pump.usedBase,
      firstRegion: pump.geometry.regions.length,
      socketPath: diskSocketPath(runPath),
      sequence: pump.sequence,
      sink: (frame, sequence, kinds) => pump.sendDiskFrame(frame, sequence, kinds),
      room: () => this.race(pump.room()),
      warn,
    });
    return this.disks;
  }

  private async handOver(
    core: Core,
    pump: SourcePump,
    end: StreamEnd,
    record: OwnershipRecord,
  ): Promise<SourceOutcome> {
    const { ownership, peer, definition } = this.context;
    const outgoing = await this.qemu.started;
    const vm = definition.name;
    const root = pump.digests.root(end.digest, this.disks?.tops());
    this.machine.go("finishing");
    this.link.send({ type: "finish", root: toHex(root), sequence: end.sequence });
    const prepared = await this.race(this.replies.wait("prepared", preparedTimeoutMs));
    if (prepared.root !== toHex(root)) {
      throw new OperationError(
        "failed",
        `Cannot hand over ${vm}: ${peer} has built another state than was sent`,
      );
    }
    this.machine.go("completing");
    outgoing.answerShut(0);
    traceStep({ side: "source", step: "shut-answered" });
    await this.race(outgoing.completed);
    const stoppedAt = outgoing.stoppedAt ?? Date.now();
    if (this.failure) throw this.failure;

    this.isReleased = true;
    this.link.setPatience(releasedPatience);
    const epoch = record.epoch + 1;
    const generation = pump.writer.generation;
    const ended: LegEnd = { pump, disks: this.disks, stream: end, root, epoch };
    await this.release({ ...record, state: "released", epoch, peer, generation });
    this.machine.go("released");
    this.link.send({ type: "commit", epoch });
    traceStep({ side: "source", step: "commit-sent" });
    try {
      await this.race(this.replies.wait("running", runningTimeoutMs));
    } catch (error) {
      this.context.warn(`${peer} did not confirm that it runs ${vm}: ${messageOf(error)}`);
      return await this.leaveInDoubt(ended, stoppedAt);
    }
    const halfRttMs = Number.isFinite(pump.rate.minRttMs) ? pump.rate.minRttMs / 2 : 0;
    const downtimeMs = Math.max(0, Date.now() - stoppedAt - halfRttMs);
    const result = this.resultOf(ended, downtimeMs);
    try {
      await ownership.write({ ...record, state: "away", epoch, peer, generation });
    } catch (error) {
      this.context.warn(`Cannot record that ${vm} is at ${peer}: ${messageOf(error)}`);
      return await this.leaveInDoubt(ended, stoppedAt);
    }
    this.machine.go("handed-over");
    const sealed = await this.seal(ended);
    await this.context.endQemu().catch((error) => this.context.warn(messageOf(error)));
    await this.recordIntact(sealed);
    return { outcome: "done", result, connection: this.link.handOut(), sealed, core };
  }

  private resultOf({ pump, root, epoch }: LegEnd, downtimeMs: number): LegResult {
    const disks = this.disks?.totals;
    return {
      leg: pump.usedBase.mode === "nothing" ? "first" : "return",
      generation: pump.writer.generation,
      epoch,
      totalMs: Math.round(performance.now() - this.startedAt),
      downtimeMs: Math.round(downtimeMs),
      ramBytes: pump.encoder.changedBytes,
      diskBytes: disks?.changedBytes ?? 0,
      diskWireBytes: disks?.frameBytes ?? 0,
      wireBytes: this.link.wireBytes,
      resentBytes: this.link.resentBytes,
      reconnects: this.link.reconnects,
      rounds: Math.max(this.lastInfo?.ram?.dirtySyncCount ?? 1, this.disks?.rounds ?? 0),
      pages: { ...pump.encoder.counts },
      blocks: disks?.counts ?? noRecords(),
      root: toHex(root),
    };
  }

  private async seal(ended: LegEnd): Promise<StoredGeneration | null> {
    traceStep({ side: "source", step: "sealing" });
    const sealed = await sealOwnCopy(this.context, ended);
    traceStep({ side: "source", step: "sealed" });
    return sealed;
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
  private async leaveInDoubt(ended: LegEnd, stoppedAt: number): Promise<SourceOutcome> {
    this.link.close();
    await this.recordIntact(await this.seal(ended));
    this.machine.go("in-doubt");
    const resultIfThere = () => this.resultOf(ended, Date.now() - stoppedAt);
    return { outcome: "in-doubt", epoch: ended.epoch, resultIfThere };
  }

  private async recordIntact(sealed: StoredGeneration | null): Promise<void> {
    const { store, warn } = this.context;
    if (sealed) await new IntegrityLedger(store).record(sealed).catch((error) => warn(messageOf(error)));
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

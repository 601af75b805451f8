/**
 * One leg, seen from the source, until everything is sent: what handovers, checkpoints and seeds have in common. How each
 * of them ends is in source-handover.ts and source-copy.ts; what may follow what is the table in state-machine.ts.
 */

import { performance } from "node:perf_hooks";
import type { Core } from "../../src/core.ts";
import { messageOf, OperationError } from "../errors.ts";
import { deferred } from "../qemu/deferred.ts";
import type { MigrationInfo } from "../qemu/migration-info.ts";
import type { OutgoingMigration } from "../qemu/outgoing-migration.ts";
import type { StoredGeneration } from "../store/generation-reader.ts";
import { IntegrityLedger } from "../store/integrity.ts";
import type { OwnershipRecord } from "../store/ownership.ts";
import { abortError, type Incoming, protocolError } from "../wan/connection.ts";
import type { LegPurpose } from "../wan/messages.ts";
import { type CommonBase, ownBaseOf } from "./common-base.ts";
import { encodeThreads } from "./encode-route.ts";
import { loadLegCore } from "./leg-core.ts";
import { asLost } from "./leg-failure.ts";
import { diskSocketPath } from "./leg-remains.ts";
import { legResult } from "./leg-result.ts";
import { traceStep } from "./leg-steps.ts";
import { LegTimes } from "./leg-times.ts";
import { runLiveRounds } from "./live-rounds.ts";
import { LegProgress } from "./progress.ts";
import type { StreamEnd } from "./pump-options.ts";
import { isReply, Replies } from "./replies.ts";
import { paceOf } from "./seed-pass.ts";
import type { LegResult, SourceLegContext, SourceOutcome } from "./source-context.ts";
import { SourceDisks } from "./source-disks.ts";
import { SourceLink } from "./source-link.ts";
import { negotiate } from "./source-negotiation.ts";
import { SourcePump } from "./source-pump.ts";
import { SourceQemu } from "./source-qemu.ts";
import { type LegEnd, sealOwnCopy } from "./source-seal.ts";
import { StandingAdoption } from "./standing-adoption.ts";
import {
  type KeepState,
  keepTransitions,
  type SourceState,
  StateMachine,
  sourceTransitions,
} from "./state-machine.ts";
import { openGuestMapping } from "./unwritten-pages.ts";

/** While the VM runs on nothing is urgent. */
const livePatience = { beatMs: 2_000, silenceMs: 10_000 };

/** Runs one leg. Throws OperationError "aborted" when the VM goes on at the source. */
export abstract class SourceLeg {
  protected readonly context: SourceLegContext;
  protected readonly machine: StateMachine<SourceState | KeepState>;
  protected readonly purpose: LegPurpose;
  private readonly legId: string;
  private readonly startedAt: number;
  protected failure: Error | null = null;
  protected failed: (error: Error) => void = () => {};
  private readonly failing: Promise<never>;
  protected readonly replies: Replies;
  protected qemu: SourceQemu;
  private readonly standing: StandingAdoption;
  protected readonly link: SourceLink;
  protected pump: SourcePump | null = null;
  /** QEMU stops an idle guest at the end of a pass: a seed waits until it can tell. */
  protected readonly passMayBegin = deferred();
  protected lastInfo: MigrationInfo | null = null;
  protected isReleased = false;
  protected disks: SourceDisks | null = null;
  protected readonly times = new LegTimes();

  constructor(context: SourceLegContext, purpose: LegPurpose) {
    this.context = context;
    this.startedAt = context.startedAt ?? performance.now();
    this.legId = context.legId;
    this.purpose = purpose;
    const table = purpose === "handover" ? sourceTransitions : keepTransitions;
    this.machine = new StateMachine<SourceState | KeepState>(table, "negotiating", (state) => {
      context.onState(state);
      this.times.reached(state);
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
    this.standing = new StandingAdoption(context.standing ?? null);
    this.qemu = this.standing.qemu ?? this.newQemu();
    const { legId, definition, peer, connect, reconnect, streams, bytesPerSecond, linkTimeoutMs, warn } =
      context;
    this.link = new SourceLink({
      legId,
      vm: definition.name,
      peer,
      connect,
      reconnect,
      streams,
      bytesPerSecond,
      patience: { ...livePatience, timeoutMs: linkTimeoutMs },
      onIncoming: (incoming) => this.receive(incoming),
      onChange: (isUp) => {
        this.pump?.linkChanged(isUp);
        this.context.onLink(isUp);
      },
      onDelivered: (sequence) => this.pump?.acknowledged(sequence),
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
    const core = await loadLegCore();
    try {
      traceStep({ side: "source", step: "negotiating" });
      const record = await this.context.ownership.read(this.context.definition.name);
      await this.race(this.link.open());
      const { base, generation } = await negotiate({
        core,
        context: this.context,
        purpose: this.purpose,
        record,
        link: this.link,
        offer: (timeoutMs) => this.race(this.replies.wait("offer", timeoutMs)),
        preferred: this.standing.preferredBase,
      });
      await this.race(this.context.predicted ?? Promise.resolve());
      this.pump = this.standing.take(base, generation);
      if (this.standing.isUndecided) {
        await this.standing.dismiss(this.context.peer);
        this.qemu = this.newQemu();
      }
      this.pump ??= await this.makePump(core, base, generation);
      const end = await this.sendEverything(this.pump);
      return await this.conclude(this.pump, end, record);
    } catch (error) {
      this.link.close({ type: "abort", reason: "cancelled", message: messageOf(error).slice(0, 1000) });
      if (!this.standing.isUndecided) await this.letRunOn();
      await this.disks?.release();
      await this.dropCopy();
      await this.doubtBase(this.pump);
      this.machine.go("aborted");
      throw this.context.qmp.isClosed ? asLost(error) : this.failureOf(error);
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

  private newQemu(): SourceQemu {
    const { qmp, runPath, warn, onDivergence, definition } = this.context;
    const canThrottle = onDivergence === "throttle";
    // Nobody waits for a seed: the guest and other legs need the machine too.
    const isPassOnly = this.purpose === "seed";
    const firstBytesPerSecond = paceOf(definition.memoryBytes);
    const after = this.passMayBegin.promise;
    const pace = isPassOnly ? { firstBytesPerSecond, isPassOnly, after } : {};
    return new SourceQemu(qmp, runPath, this.onQemuFailed, warn, { canThrottle, ...pace });
  }

  private readonly onQemuFailed = (reason: string): void =>
    this.failed(new OperationError("aborted", `QEMU ended the migration: ${reason}`));

  private async makePump(core: Core, base: CommonBase, generation: number): Promise<SourcePump> {
    const { definition, ramBlock, key, store, guest, warn } = this.context;
    const { name: vm, memoryBytes } = definition;
    return new SourcePump({
      core,
      sink: this.link,
      key,
      base,
      mapping: await openGuestMapping(guest, base, memoryBytes),
      ramBlock,
      memoryBytes,
      hasDisks: this.context.disks.length > 0,
      holdsDevice: this.purpose !== "handover",
      target: { generationsPath: store.generationsPath, vm, generation, legId: this.legId },
      onBaseDropped: (reason) => warn(`Everything is sent: ${reason}`),
      threads: encodeThreads({ onFailed: this.failed, warn }),
    });
  }

  private receive(incoming: Incoming): void {
    const { peer } = this.context;
    if ("frame" in incoming) this.failed(protocolError(peer, "a frame came where none belongs"));
    else if (incoming.message.type === "abort") this.failed(abortError(incoming.message, peer));
    else if (isReply(incoming.message)) this.replies.put(incoming.message);
    else this.failed(protocolError(peer, `'${incoming.message.type}' came unexpectedly`));
  }

  /** Rounds until the switchover decision, then the rest. */
  protected async sendEverything(pump: SourcePump): Promise<StreamEnd> {
    const { onProgress, definition, downtimeLimitMs } = this.context;
    this.machine.go("rounds");
    const progress = new LegProgress(definition.name, definition.memoryBytes, onProgress);
    await this.race(this.standing.replay(this.link, progress, this.onQemuFailed));
    let stopWatching = () => {};
    const attached = (outgoing: OutgoingMigration) => {
      stopWatching();
      stopWatching = this.watchPauses(outgoing);
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
      progress,
      vm: definition.name,
      downtimeLimitMs,
      bitsPerSecond: this.context.bitsPerSecond,
      onDivergence: this.context.onDivergence,
      diverged: this.context.diverged,
      race: (promise) => this.race(promise),
      onFailed: this.failed,
      onFirstPass: () => this.times.reached("first-pass"),
      purpose: this.purpose,
      rest: (outgoing, disks) => this.readRest(pump, outgoing, disks),
    }).finally(() => stopWatching());
    this.lastInfo = info;
    return end;
  }

  /** Who pauses the VM wants it to stand still: the leg is given up, since it would let it run. */
  private watchPauses(outgoing: OutgoingMigration): () => void {
    const { qmp, definition } = this.context;
    return qmp.onEvent(({ name }) => {
      if (name !== "STOP") return;
      outgoing.isStoppedByOthers().then((isPaused) => {
        if (isPaused)
          this.failed(new OperationError("aborted", `${definition.name} was paused, and stays so`));
      });
    });
  }

  /** QEMU has stopped the VM: all that is left is read. */
  protected abstract readRest(
    pump: SourcePump,
    outgoing: OutgoingMigration,
    disks: SourceDisks | null,
  ): Promise<StreamEnd>;

  /** Everything is sent. Resolves when the leg is over. */
  protected abstract conclude(
    pump: SourcePump,
    end: StreamEnd,
    record: OwnershipRecord,
  ): Promise<SourceOutcome>;

  /** The leg has failed: QEMU is made to let the VM run on. */
  protected async letRunOn(): Promise<void> {
    await this.qemu.giveUp(this.machine.state === "completing");
  }

  protected async openDisks(pump: SourcePump): Promise<SourceDisks | null> {
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
      choose: pump.codec.choose,
      warn,
    });
    return this.disks;
  }

  /** The leg has failed: what was written of its generation here goes. */
  protected async dropCopy(): Promise<void> {
    await this.pump?.discard();
  }

  /** What the failure means for the VM, which runs on here. */
  protected abstract failureOf(error: unknown): OperationError;

  protected resultOf(ended: LegEnd, downtimeMs: number): LegResult {
    const { link, times, lastInfo: info } = this;
    const totalMs = performance.now() - this.startedAt;
    const tracking = this.standing.isAdopted ? "standing" : "scan";
    return legResult(ended, { link, info, times, tracking, totalMs, downtimeMs });
  }

  protected async seal(ended: LegEnd): Promise<StoredGeneration | null> {
    traceStep({ side: "source", step: "sealing" });
    const sealed = await sealOwnCopy(this.context, ended);
    traceStep({ side: "source", step: "sealed" });
    return sealed;
  }

  protected async recordIntact(sealed: StoredGeneration | null): Promise<void> {
    const { store, warn } = this.context;
    if (sealed) await new IntegrityLedger(store).record(sealed).catch((error) => warn(messageOf(error)));
  }

  /** A leg that failed when roots were compared may have had a damaged base: it is checked before its next use. */
  private async doubtBase(pump: SourcePump | null): Promise<void> {
    const base = pump && this.machine.state === "finishing" ? ownBaseOf(pump.usedBase) : null;
    if (base) await new IntegrityLedger(this.context.store).forget(base);
  }

  protected race<T>(promise: Promise<T>): Promise<T> {
    return Promise.race([promise, this.failing]);
  }
}

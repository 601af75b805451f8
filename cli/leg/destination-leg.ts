/**
 * One migration, seen from the destination. The VM never runs here before OWNED is durable; whatever ends the
 * leg before that leaves nothing behind.
 */

import type { Core } from "../../src/core.ts";
import type { Manifest } from "../../src/generation/manifest.ts";
import type { BlockHost } from "../disk/block-host.ts";
import { messageOf, OperationError } from "../errors.ts";
import { deferred } from "../qemu/deferred.ts";
import { type IncomingMigration, startIncoming } from "../qemu/incoming-migration.ts";
import type { QemuProcess } from "../qemu/process.ts";
import { qemuSocketPath } from "../qemu/unix-socket.ts";
import type { StoredGeneration } from "../store/generation-reader.ts";
import { IntegrityLedger } from "../store/integrity.ts";
import type { Incoming, PeerConnection } from "../wan/connection.ts";
import { abortError, protocolError } from "../wan/connection.ts";
import type { Message, MessageOf } from "../wan/messages.ts";
import { chosenBase, intactGenerations } from "./destination-base.ts";
import type { DestinationLegContext, DestinationResult } from "./destination-context.ts";
import { DestinationDisks } from "./destination-disks.ts";
import { DestinationLink } from "./destination-link.ts";
import { type DestinationStore, openDestinationStore } from "./destination-store.ts";
import { firstFrame } from "./frame-order.ts";
import { loadLegCore } from "./leg-core.ts";
import { traceStep } from "./leg-steps.ts";
import {
  type DestinationState,
  destinationTransitions,
  type KeeperState,
  keeperTransitions,
  StateMachine,
} from "./state-machine.ts";

/** What came and was not handled may take so much memory: half of what a source may have under way. */
const maxQueuedBytes = 128 << 20;

/** Runs one leg from `prepare` on. Throws OperationError when the VM does not come to run here. */
export class DestinationLeg {
  protected readonly context: DestinationLegContext;
  protected readonly machine: StateMachine<DestinationState | KeeperState>;
  protected destination: DestinationStore | null = null;
  private disks: DestinationDisks | null = null;
  private host: Promise<BlockHost> | null = null;
  private process: Promise<QemuProcess> | null = null;
  private incoming: Promise<IncomingMigration> | null = null;
  protected manifest: Manifest | null = null;
  private generation = 0;
  private core: Promise<Core> | null = null;
  private work: Promise<void> = Promise.resolve();
  protected readonly outcome = deferred<DestinationResult>();
  protected isOver = false;
  protected link: DestinationLink | null = null;
  private denial: Error | null = null;
  private onLinked: () => void = () => {};
  /** Resolves when the source was answered, or cannot be. */
  private readonly linked = new Promise<void>((resolve) => {
    this.onLinked = resolve;
  });
  private queuedBytes = 0;
  protected isInForce = false;

  constructor(context: DestinationLegContext) {
    this.context = context;
    const isHandover = context.prepare.purpose === "handover";
    const table = isHandover ? destinationTransitions : keeperTransitions;
    this.machine = new StateMachine<DestinationState | KeeperState>(table, "offered", (state) => {
      context.onState(state);
      traceStep({ side: "destination", step: state });
    });
  }

  async run(): Promise<DestinationResult> {
    const { connection, store, prepare, warn } = this.context;
    try {
      await store.prepare();
      // It takes a moment: meanwhile the source finds out what both have.
      if (this.context.disks.length > 0) this.host = this.context.startBlockHost();
      this.host?.catch(() => {});
      const have = await intactGenerations(store, this.context.key, warn);
      // It may have been cancelled meanwhile.
      if (!this.isOver) {
        traceStep({ side: "destination", step: "offered" });
        this.link = new DestinationLink({
          legId: prepare.leg,
          connection,
          timeoutMs: prepare.linkTimeoutMs,
          streams: prepare.streams,
          onIncoming: (incoming) => this.receive(incoming),
          onGivenUp: (error) => this.cancel(error),
          warn,
        });
        this.link.deny(this.denial);
        this.link.send({ type: "offer", have });
        // The answer takes a round trip.
        this.core = loadLegCore();
        this.core.catch(() => {});
      }
      this.onLinked();
      return await this.outcome.promise;
    } catch (error) {
      this.isOver = true;
      this.onLinked();
      if (this.machine.state !== "returned") this.sendLast(error);
      this.link?.end();
      await this.discard();
      throw error;
    } finally {
      this.destination?.release();
    }
  }

  /** The source's connection, as soon as there is one; null when none comes in time. Only after `run` has resolved. */
  async handOut(timeoutMs: number): Promise<PeerConnection | null> {
    return (await this.link?.handOut(timeoutMs)) ?? null;
  }

  /** Waits for the source no more. */
  endLink(): void {
    this.link?.end();
  }

  /** See DestinationLink. */
  deny(denial: Error | null): void {
    this.denial = denial;
    this.link?.deny(denial);
  }

  /** Ends the leg when what came before is done, unless the VM runs here by then. */
  cancel(error: Error): void {
    this.enqueue(() => Promise.reject(error));
  }

  /**
   * The source is back on another connection. Resolves with false if nothing is left of the leg: it is for the caller to
   * say so.
   */
  async resume(connection: PeerConnection, message: MessageOf<"resume">): Promise<boolean> {
    await this.linked;
    const { link } = this;
    const isDone = this.machine.state === "running" || this.machine.state === "kept";
    if (link === null || (this.isOver && !isDone)) return false;
    link.detach();
    let isResumed = false;
    // After everything that the old connection has brought: what is told then is what is in the store.
    const go = async () => {
      link.resume(connection, message.messages, this.destination?.lastSequence ?? 1);
      isResumed = true;
    };
    if (isDone) await go();
    else await this.enqueue(go);
    return isResumed;
  }

  /** A further connection for frames. Throws OperationError if the leg has no use for it. */
  async join(connection: PeerConnection, stream: number): Promise<void> {
    await this.linked;
    if (this.link === null || this.isOver) throw new OperationError("failed", "Cannot join: the leg is over");
    this.link.join(connection, stream);
  }

  /** What arrives is done in order. A peer that sends faster than it is done waits. */
  private receive(incoming: Incoming): void {
    const bytes = "frame" in incoming ? incoming.frame.length : 0;
    this.queuedBytes += bytes;
    if (this.queuedBytes > maxQueuedBytes) this.link?.pause();
    this.enqueue(async () => {
      this.queuedBytes -= bytes;
      if (this.queuedBytes <= maxQueuedBytes) this.link?.read();
      await this.handle(incoming);
    });
  }

  private sendLast(error: unknown): void {
    const message = messageOf(error).slice(0, 1000);
    const last = { type: "abort", reason: "failed", message } as const;
    if (this.link) this.link.sendLast(last);
    else this.context.connection.send(last);
  }

  /** Messages are handled one after the other, in their order; the first failure ends the leg. */
  private enqueue(action: () => Promise<void>): Promise<void> {
    this.work = this.work.then(async () => {
      if (this.isOver) return;
      try {
        await action();
      } catch (error) {
        this.isOver = true;
        this.outcome.reject(error);
      }
    });
    return this.work;
  }

  private async handle(incoming: Incoming): Promise<void> {
    const { connection } = this.context;
    if ("frame" in incoming) {
      if (this.machine.state !== "receiving" || !this.destination) throw this.unexpected("a frame");
      const sequence = await this.destination.apply(incoming.frame);
      this.link?.acknowledge(sequence);
      if (sequence === firstFrame) traceStep({ side: "destination", step: "first-frame" });
      return;
    }
    const { message } = incoming;
    if (message.type === "begin" && this.machine.state === "offered") await this.begin(message);
    else if (message.type === "finish" && this.machine.state === "receiving") await this.finish(message);
    else if (message.type === "abort") throw abortError(message, connection.site);
    else if (this.machine.state !== "prepared" || !(await this.conclude(message))) {
      throw this.unexpected(`'${message.type}'`);
    }
  }

  private async begin(message: MessageOf<"begin">): Promise<void> {
    const { store, prepare, key, connection } = this.context;
    const { geometry, base } = await chosenBase(store, connection.site, prepare, message);
    const core = await (this.core as Promise<Core>);
    const { leg: legId } = prepare;
    const { generation } = message;
    const { images } = store;
    const { disks: arriving } = this.context;
    if (this.host) {
      const host = await this.host;
      const willRun = prepare.purpose === "handover";
      const options = { core, key, images, legId, disks: arriving, base, host, willRun };
      this.disks = await DestinationDisks.begin(options);
    }
    this.generation = generation;
    const target = { generationsPath: store.generationsPath, vm: prepare.vm.name, generation, legId };
    this.destination = await openDestinationStore({
      core,
      key,
      geometry,
      base,
      machine: message.machine,
      shapes: prepare.vm.disks,
      disks: this.disks,
      target,
    });
    await this.disks?.connect();
    await this.startQemu(this.destination);
    this.machine.go("receiving");
    if (this.incoming) await this.destination.attach(this.incoming);
  }

  /** Starts the QEMU that will run the VM. */
  protected async startQemu({ imagePath }: DestinationStore): Promise<void> {
    const { launch, runPath } = this.context;
    const process = launch(imagePath, (await this.disks?.chains()) ?? []);
    this.process = process;
    this.incoming = process.then((qemu) =>
      startIncoming(qemu.qmp, {
        socketPath: qemuSocketPath(runPath, "in.sock"),
        logTail: qemu.logTail,
        takesDisks: this.disks !== null,
      }),
    );
    this.incoming.then(
      (incoming) => incoming.completed.catch((error) => this.enqueue(() => Promise.reject(error))),
      (error) => this.enqueue(() => Promise.reject(error)),
    );
  }

  private async finish(message: MessageOf<"finish">): Promise<void> {
    const { prepare, connection, site } = this.context;
    this.machine.go("loading");
    const incoming = await this.incoming;
    const start = {
      vm: prepare.vm.name,
      generation: this.generation,
      epoch: prepare.epoch,
      from: connection.site,
      to: site,
      createdAt: new Date(Date.now() - message.ageMs).toISOString(),
      machine: prepare.vm.machine,
      accelerator: prepare.vm.accelerator,
      ...(prepare.purpose === "seed" && ({ seed: true } as const)),
    };
    const manifest = await (this.destination as DestinationStore).finish(
      message.sequence,
      start,
      incoming?.completed ?? null,
    );
    if (manifest.root !== message.root) {
      const base = manifest.base && (await this.context.store.find(manifest.base));
      if (base) await new IntegrityLedger(this.context.store).forget(base);
      throw new OperationError(
        "failed",
        `Cannot accept generation ${manifest.generation}: its root is not what was sent`,
      );
    }
    this.manifest = manifest;
    traceStep({ side: "destination", step: "written" });
    this.machine.go("prepared");
    this.link?.send({ type: "prepared", root: manifest.root });
  }

  /** What the source says to a state that is complete here. False if it cannot say that. */
  protected async conclude(message: Message): Promise<boolean> {
    if (message.type !== "commit") return false;
    await this.commit(message);
    return true;
  }

  private async commit(message: MessageOf<"commit">): Promise<void> {
    const { prepare, exclusively, store, warn } = this.context;
    const vm = prepare.vm.name;
    const process = await (this.process as Promise<QemuProcess>);
    // Whoever asks how the handover ended waits until it has: before `cont` nobody is told that the VM is here.
    const generation = await exclusively(async () => {
      const committed = await this.takeOwnership(message);
      this.machine.go("owned");
      try {
        await process.qmp.execute("cont");
      } catch (error) {
        await this.giveBack(process, error);
        throw new OperationError("failed", `Cannot run ${vm} here, given back: ${messageOf(error)}`);
      }
      return committed;
    });
    this.machine.go("running");
    this.isOver = true;
    this.link?.finish();
    this.link?.send({ type: "running", epoch: message.epoch });
    process.qmp
      .execute("announce-self", { initial: 50, max: 550, rounds: 5, step: 100 })
      .catch((error) => warn(`Cannot announce ${vm} on its networks: ${messageOf(error)}`));
    await new IntegrityLedger(store).record(generation).catch((error) => warn(messageOf(error)));
    this.outcome.resolve({ process, generation });
  }

  /** Puts the generation in force and records OWNED. */
  private async takeOwnership(message: MessageOf<"commit">): Promise<StoredGeneration> {
    const { ownership, prepare, connection } = this.context;
    const vm = prepare.vm.name;
    const record = await ownership.read(vm);
    const { epoch } = message;
    if (epoch !== prepare.epoch || epoch <= record.epoch || epoch <= record.refusedEpoch) {
      throw new OperationError("refused", `Cannot take ${vm} over: epoch ${epoch} was refused or is not new`);
    }
    const manifest = this.manifest as Manifest;
    const { writer } = this.destination as DestinationStore;
    const committed = await writer.commit(manifest);
    this.isInForce = true;
    traceStep({ side: "destination", step: "in-force" });
    try {
      await this.disks?.takeOver();
      const { generation } = manifest;
      await ownership.write({ ...record, state: "owned", epoch, peer: connection.site, generation });
      return committed;
    } catch (error) {
      // A write that failed may have reached the disk: only a refusal that is there makes sure that it counts for nothing.
      await this.refuse();
      throw error;
    }
  }

  /**
   * `cont` failed: this site must never run this epoch, and says so durably before the source may go on. The generation
   * stays: should the source have died meanwhile, it is the newest copy.
   */
  private async giveBack(process: QemuProcess, cause: unknown): Promise<void> {
    await process.kill();
    await this.refuse();
    this.machine.go("returned");
    this.sendLast(cause);
  }

  /** Records durably that this site never runs the leg's epoch. Its images are no longer what a VM here writes to. */
  private async refuse(): Promise<void> {
    const { ownership, prepare, store } = this.context;
    const record = await ownership.read(prepare.vm.name);
    await ownership.write({ ...record, state: "none", refusedEpoch: prepare.epoch });
    if (this.disks) await store.images.setCurrent({ format: 1, images: {}, aside: [] });
  }

  private async discard(): Promise<void> {
    const qemu = await this.process?.catch(() => null);
    (await this.incoming?.catch(() => null))?.abort();
    await qemu?.kill();
    if (this.machine.state === "returned") return;
    // What is in force may be the newest copy, whatever became of the leg.
    if (!this.isInForce) {
      await this.destination?.writer.discard();
      await this.disks?.discard();
    }
    await (await this.host?.catch(() => null))?.kill();
    this.machine.go("discarded");
  }

  private unexpected(what: string): OperationError {
    return protocolError(this.context.connection.site, `${what} came in state '${this.machine.state}'`);
  }
}

/**
 * A handover, seen from the source: the VM goes to the peer. The order of the steps, and why, is in docs/PROTOCOL.md; what may
 * follow what is the table in state-machine.ts.
 */

import { toHex } from "../../src/bytes.ts";
import { messageOf, OperationError } from "../errors.ts";
import type { OutgoingMigration } from "../qemu/outgoing-migration.ts";
import type { OwnershipRecord } from "../store/ownership.ts";
import { asAborted } from "./leg-failure.ts";
import { traceStep } from "./leg-steps.ts";
import { endOfStream } from "./live-rounds.ts";
import type { StreamEnd } from "./pump-options.ts";
import type { SourceLegContext, SourceOutcome } from "./source-context.ts";
import type { SourceDisks } from "./source-disks.ts";
import { SourceLeg } from "./source-leg.ts";
import type { Patience } from "./source-link.ts";
import type { SourcePump } from "./source-pump.ts";
import { recordReleased } from "./source-release.ts";
import type { LegEnd } from "./source-seal.ts";

const preparedTimeoutMs = 60_000;
const runningTimeoutMs = 15_000;
/** While the VM stands still a lost link is noticed soon, and not borne for long: the VM can run on here. */
const stoppedPatience: Patience = { timeoutMs: 2_000, beatMs: 500, silenceMs: 3_000 };
/** After RELEASED only the peer's answer helps. */
const releasedPatience: Patience = { timeoutMs: runningTimeoutMs, beatMs: 500, silenceMs: 3_000 };

/** Runs one handover. Throws OperationError "aborted" when the VM goes on at the source. */
export class SourceHandover extends SourceLeg {
  constructor(context: SourceLegContext) {
    super(context, "handover");
  }

  /** All that is left is read and sent. */
  protected override async readRest(
    pump: SourcePump,
    outgoing: OutgoingMigration,
    disks: SourceDisks | null,
  ): Promise<StreamEnd> {
    this.link.setPatience(stoppedPatience);
    this.machine.go("stopped");
    pump.drain();
    // Every export is gone before QEMU goes on: one that holds a persistent bitmap would kill it.
    await this.race(disks?.finish() ?? Promise.resolve());
    traceStep({ side: "source", step: "disks-read" });
    await this.race(outgoing.continueSwitchover());
    const end = await this.race(endOfStream(pump, pump.ended));
    traceStep({ side: "source", step: "stream-ended" });
    return end;
  }

  protected override failureOf(error: unknown): OperationError {
    return asAborted(error);
  }

  /** Hands the VM over. */
  protected override async conclude(
    pump: SourcePump,
    end: StreamEnd,
    record: OwnershipRecord,
  ): Promise<SourceOutcome> {
    const { ownership, peer, definition } = this.context;
    const outgoing = await this.qemu.started;
    const vm = definition.name;
    const root = pump.digests.root(end.digest, this.disks?.tops());
    this.machine.go("finishing");
    const ageMs = outgoing.stoppedForMs;
    this.link.send({ type: "finish", root: toHex(root), sequence: end.sequence, ageMs });
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
    const { disks, purpose } = this;
    const ended: LegEnd = { purpose, pump, disks, stream: end, root, epoch, stoppedAt };
    await recordReleased(
      ownership,
      { ...record, state: "released", epoch, peer, generation },
      this.context.warn,
    );
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
    return { outcome: "done", result, connection: this.link.handOut(), sealed, core: pump.core };
  }

  /** Only the peer knows how it ended; the agent asks it. The VM stays stopped here, its state is kept. */
  private async leaveInDoubt(ended: LegEnd, stoppedAt: number): Promise<SourceOutcome> {
    this.link.close();
    await this.recordIntact(await this.seal(ended));
    this.machine.go("in-doubt");
    const resultIfThere = () => this.resultOf(ended, Date.now() - stoppedAt);
    return { outcome: "in-doubt", epoch: ended.epoch, resultIfThere };
  }
}

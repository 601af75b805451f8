/** Legs that arrive at this site: found again when their source comes back on another connection, or gives them up. */

import { OperationError } from "../errors.ts";
import type { DestinationLeg } from "../leg/destination-leg.ts";
import { deferred } from "../qemu/deferred.ts";
import type { PeerConnection } from "../wan/connection.ts";
import type { Claim, MessageOf } from "../wan/messages.ts";

/** Failures that are remembered for a source that asks later. */
const maxFailures = 64;

interface Arrival {
  readonly id: string;
  readonly peer: string;
  readonly vm: string;
  readonly epoch: number;
  readonly leg: DestinationLeg;
  /** Resolves when nothing is left to do for the leg. Never rejects. */
  readonly ended: Promise<void>;
  readonly end: () => void;
}

/** The legs of one agent. */
export class LegArrivals {
  private readonly legs = new Map<string, Arrival>();
  private readonly failures = new Map<string, string>();
  /** Legs whose `prepare` came and that are not under way so far. */
  private readonly beginning = new Map<string, { promise: Promise<void>; done: () => void }>();

  /**
   * A leg's `prepare` came. A source that comes back before the leg is under way waits for it: it would else hear that
   * its leg is not known, and begin it a second time. Call the result when the leg cannot begin.
   */
  announce(legId: string): () => void {
    const { promise, resolve } = deferred();
    const done = () => {
      if (this.beginning.get(legId)?.promise === promise) this.beginning.delete(legId);
      resolve();
    };
    this.beginning.set(legId, { promise, done });
    return done;
  }

  /** Takes note of a leg; call the result when nothing is left to do for it, with why it failed if it did. */
  add(peer: string, prepare: MessageOf<"prepare">, leg: DestinationLeg): (failure: string | null) => void {
    let end = () => {};
    const ended = new Promise<void>((resolve) => {
      end = resolve;
    });
    const id = prepare.leg;
    this.legs.set(id, { id, peer, vm: prepare.vm.name, epoch: prepare.epoch, leg, ended, end });
    this.beginning.get(id)?.done();
    return (failure) => {
      this.legs.delete(id);
      if (failure !== null) this.remember(id, failure);
      end();
    };
  }

  /**
   * A source is back. Resolves when its leg has ended, so that the connection is kept for so long; with false if the leg
   * is not known here. Throws OperationError if the leg has failed.
   */
  async resume(connection: PeerConnection, message: MessageOf<"resume">): Promise<boolean> {
    await this.beginning.get(message.leg)?.promise;
    const found = this.legs.get(message.leg);
    const isTheirs = found?.peer === connection.site && found.vm === message.vm;
    if (found && isTheirs && (await found.leg.resume(connection, message))) {
      await found.ended;
      return true;
    }
    if (found && isTheirs) await found.ended;
    const failure = this.failures.get(message.leg);
    if (failure !== undefined) throw new OperationError("failed", failure);
    return false;
  }

  /** The peer begins another leg of the VM: it has given up the one before. Resolves when that is gone. */
  async supersede(peer: string, vm: string): Promise<void> {
    await this.cancel((one) => one.peer === peer && one.vm === vm, "its source has begun another leg");
  }

  /** This site has promised never to accept that epoch. */
  async refused(vm: string, epoch: number): Promise<void> {
    await this.cancel((one) => one.vm === vm && one.epoch <= epoch, "its handover was refused");
  }

  /** A peer says which legs of its own are under way: others that it has begun are over. */
  peerClaims(site: string, claims: readonly Claim[]): void {
    const live = new Map(claims.map(({ vm, leg }) => [vm, leg]));
    void this.cancel(
      (one) => one.peer === site && live.has(one.vm) && live.get(one.vm) !== one.id,
      "its source does not know it any more",
    );
  }

  private async cancel(isMeant: (one: Arrival) => boolean, why: string): Promise<void> {
    const meant = [...this.legs.values()].filter(isMeant);
    for (const { leg } of meant) leg.cancel(new OperationError("failed", `The leg is over: ${why}`));
    await Promise.all(meant.map(({ ended }) => ended));
  }

  private remember(id: string, failure: string): void {
    this.failures.set(id, failure);
    const [oldest] = this.failures.keys();
    if (this.failures.size > maxFailures) this.failures.delete(oldest);
  }
}

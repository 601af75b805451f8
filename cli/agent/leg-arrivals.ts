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

/** A leg that is not under way so far. */
interface Beginning {
  readonly peer: string;
  readonly vm: string;
  /** Its source has said that it does not know it. */
  denial: Error | null;
  /** Resolves when the leg is under way, or cannot begin. */
  readonly promise: Promise<void>;
  readonly done: () => void;
}

/** The legs of one agent. */
export class LegArrivals {
  private readonly legs = new Map<string, Arrival>();
  private readonly failures = new Map<string, string>();
  /** Legs whose `prepare` came and that are not under way so far. */
  private readonly beginning = new Map<string, Beginning>();

  /**
   * A leg's `prepare` came. A source that comes back before the leg is under way waits for it: it would else hear that
   * its leg is not known, and begin it a second time. Call the result when the leg cannot begin.
   */
  announce(peer: string, prepare: MessageOf<"prepare">): () => void {
    const { promise, resolve } = deferred();
    const { leg: id, vm } = prepare;
    const done = () => {
      if (this.beginning.get(id)?.promise === promise) this.beginning.delete(id);
      resolve();
    };
    this.beginning.set(id, { peer, vm: vm.name, denial: null, promise, done });
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
    const beginning = this.beginning.get(id);
    leg.deny(beginning?.denial ?? null);
    beginning?.done();
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

  /**
   * A further connection for frames of a leg. Resolves when the leg has ended, or the connection was lost. Throws
   * OperationError: "refused" if no such leg of this peer is under way here.
   */
  async join(connection: PeerConnection, message: MessageOf<"join">): Promise<void> {
    await this.beginning.get(message.leg)?.promise;
    const found = this.legs.get(message.leg);
    if (found?.peer !== connection.site || found.vm !== message.vm) {
      throw new OperationError("refused", `Cannot join a leg of ${message.vm}: it is not under way here`);
    }
    await found.leg.join(connection, message.stream);
    const lost = new Promise<void>((resolve) => connection.onLost(() => resolve()));
    await Promise.race([found.ended, lost]);
  }

  /** The peer begins a leg of the VM: it has given up those before. Resolves when they are gone. */
  async supersede(peer: string, { leg, vm: { name: vm } }: MessageOf<"prepare">): Promise<void> {
    const earlier: Promise<void>[] = [];
    for (const [id, one] of this.beginning) {
      if (id === leg) break;
      if (one.peer === peer && one.vm === vm) earlier.push(one.promise);
    }
    await Promise.all(earlier);
    await this.cancel((one) => one.peer === peer && one.vm === vm, "its source has begun another leg");
  }

  /** This site has promised never to accept that epoch. */
  async refused(vm: string, epoch: number): Promise<void> {
    await this.cancel((one) => one.vm === vm && one.epoch <= epoch, "its handover was refused");
  }

  /** A peer says which legs of its own are under way: others that it has begun are over, unless they are newer. */
  peerClaims(site: string, claims: readonly Claim[]): void {
    const live = new Map(claims.map(({ vm, leg }) => [vm, leg]));
    const denialOf = (id: string, vm: string) =>
      live.get(vm) === id
        ? null
        : new OperationError("failed", "The leg is over: its source does not know it any more");
    for (const { id, peer, vm, leg } of this.legs.values()) {
      if (peer === site && live.has(vm)) leg.deny(denialOf(id, vm));
    }
    for (const [id, one] of this.beginning) {
      if (one.peer === site && live.has(one.vm)) one.denial = denialOf(id, one.vm);
    }
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

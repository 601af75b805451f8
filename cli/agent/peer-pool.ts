/**
 * One connection to each peer, opened and authenticated ahead of need: a leg that begins on it saves the three
 * round trips that connecting and authenticating cost.
 */

import { setTimeout as sleep } from "node:timers/promises";
import { OperationError } from "../errors.ts";
import type { PeerConnection } from "../wan/connection.ts";

const retryFirstMs = 1_000;
const retryLastMs = 60_000;

/** Keeps a connection ready for each of some peers. */
export class PeerPool {
  private readonly dial: (site: string) => Promise<PeerConnection>;
  private readonly onRefused: (site: string, reason: string) => void;
  /** What was told last of each peer: the same again is no news. */
  private readonly told = new Map<string, string>();
  private readonly ready = new Map<string, PeerConnection>();
  private readonly dialling = new Set<string>();
  /** Ends the pause before the next try. */
  private readonly pauses = new Map<string, AbortController>();
  private readonly stopped = new AbortController();

  /** `onRefused` is told of a peer that is there, but does not trust this site or is not trusted: time heals neither. */
  constructor(
    dial: (site: string) => Promise<PeerConnection>,
    onRefused: (site: string, reason: string) => void = () => {},
  ) {
    this.dial = dial;
    this.onRefused = onRefused;
  }

  /** Begins to keep a connection to the peer. */
  keep(site: string): void {
    if (this.stopped.signal.aborted || this.ready.has(site) || this.dialling.has(site)) return;
    this.dialling.add(site);
    this.open(site).finally(() => this.dialling.delete(site));
  }

  /** The peer has dialled this site, so it is there: one that was away is tried again now. */
  met(site: string): void {
    this.pauses.get(site)?.abort();
  }

  /** The ready connection, or a new one; another is made ready in its place. Throws OperationError. */
  async take(site: string): Promise<PeerConnection> {
    const connection = this.ready.get(site);
    this.ready.delete(site);
    if (!connection?.isOpen) return await this.dial(site);
    connection.beginCount();
    return connection;
  }

  /** The ready connection, which stays there; null if there is none. */
  peek(site: string): PeerConnection | null {
    const connection = this.ready.get(site);
    return connection?.isOpen ? connection : null;
  }

  /** Closes what is ready and dials no more. */
  stop(): void {
    this.stopped.abort();
    for (const connection of this.ready.values()) connection.close();
    this.ready.clear();
  }

  private async open(site: string): Promise<void> {
    const { signal } = this.stopped;
    for (let waitMs = retryFirstMs; !signal.aborted; waitMs = Math.min(2 * waitMs, retryLastMs)) {
      try {
        const connection = await this.dial(site);
        if (signal.aborted) return connection.close();
        this.told.delete(site);
        this.ready.set(site, connection);
        connection.onLost(() => {
          if (this.ready.get(site) !== connection) return;
          this.ready.delete(site);
          setTimeout(() => this.keep(site), retryFirstMs).unref();
        });
        return;
      } catch (error) {
        // A peer that is away is no event: who asks for it will be told.
        if (error instanceof OperationError && error.reason === "refused") this.tell(site, error.message);
        const pause = new AbortController();
        this.pauses.set(site, pause);
        const ends = AbortSignal.any([signal, pause.signal]);
        await sleep(waitMs, undefined, { signal: ends, ref: false }).catch(() => {});
        this.pauses.delete(site);
      }
    }
  }

  private tell(site: string, reason: string): void {
    if (this.told.get(site) === reason) return;
    this.told.set(site, reason);
    this.onRefused(site, reason);
  }
}

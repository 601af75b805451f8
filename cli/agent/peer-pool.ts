/**
 * One connection to each peer, opened and authenticated ahead of need: a leg that begins on it saves the three
 * round trips that connecting and authenticating cost.
 */

import { setTimeout as sleep } from "node:timers/promises";
import type { PeerConnection } from "../wan/connection.ts";

const retryFirstMs = 1_000;
const retryLastMs = 60_000;

/** Keeps a connection ready for each of some peers. */
export class PeerPool {
  private readonly dial: (site: string) => Promise<PeerConnection>;
  private readonly ready = new Map<string, PeerConnection>();
  private readonly dialling = new Set<string>();
  private readonly stopped = new AbortController();

  constructor(dial: (site: string) => Promise<PeerConnection>) {
    this.dial = dial;
  }

  /** Begins to keep a connection to the peer. */
  keep(site: string): void {
    if (this.stopped.signal.aborted || this.ready.has(site) || this.dialling.has(site)) return;
    this.dialling.add(site);
    this.open(site).finally(() => this.dialling.delete(site));
  }

  /** The ready connection, or a new one; another is made ready in its place. Throws OperationError. */
  async take(site: string): Promise<PeerConnection> {
    const connection = this.ready.get(site);
    this.ready.delete(site);
    if (!connection?.isOpen) return await this.dial(site);
    connection.beginCount();
    return connection;
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
        this.ready.set(site, connection);
        connection.onLost(() => {
          if (this.ready.get(site) !== connection) return;
          this.ready.delete(site);
          setTimeout(() => this.keep(site), retryFirstMs).unref();
        });
        return;
      } catch {
        // A peer that is away is no event: who asks for it will be told.
        await sleep(waitMs, undefined, { signal, ref: false }).catch(() => {});
      }
    }
  }
}

/**
 * How many connections a listening site keeps, and for whom: who has not proven anything yet gets little, and who
 * fails again and again is dropped unheard for a while.
 */

import { isIPv6 } from "node:net";

/** Connections that have not proven who they are, in all and from one address. */
export const maxUnproven = 64;
export const maxUnprovenPerAddress = 16;
/** Connections of one peer. A few of them may be lost ones that this end has not noticed yet. */
export const maxConnectionsPerPeer = 32;
/** Failed authentications of an address before it has to wait: a mistake in a configuration must not lock it out. */
export const freeFailures = 10;
/** How long an address is dropped after the first failure above that; it doubles with each further one. */
export const firstWaitMs = 1_000;
export const lastWaitMs = 60_000;
/** After this time without a failure an address begins anew. */
const forgetAfterMs = 10 * 60_000;
/** Addresses that are remembered; the one that failed longest ago makes room. */
const maxAddresses = 1024;

interface Failures {
  count: number;
  lastMs: number;
  /** Until then the address is dropped. */
  waitUntilMs: number;
}

/** A connection that was let in. */
export interface Visitor {
  /** It failed to prove who it is. True if its address is dropped from now on for a while. */
  failed(): boolean;
  /** It is `site`. False if that site has too many connections already. */
  proven(site: string): boolean;
  /** It has ended. To be called once. */
  left(): void;
}

/** Counts the connections of a listener. `now` gives milliseconds. */
export class ConnectionGate {
  private readonly now: () => number;
  private unproven = 0;
  private readonly unprovenByAddress = new Map<string, number>();
  private readonly provenBySite = new Map<string, number>();
  private readonly failuresByAddress = new Map<string, Failures>();

  constructor(now: () => number = () => performance.now()) {
    this.now = now;
  }

  /** Lets a connection from an IP address in, or says why not. */
  enter(ip: string): Visitor | string {
    const address = groupOf(ip);
    const failures = this.failuresByAddress.get(address);
    if (failures && this.now() < failures.waitUntilMs) return "its address has failed too often";
    if (this.unproven >= maxUnproven) return "too many connections have not authenticated yet";
    if ((this.unprovenByAddress.get(address) ?? 0) >= maxUnprovenPerAddress) {
      return "too many connections from its address have not authenticated yet";
    }
    this.unproven++;
    add(this.unprovenByAddress, address, 1);
    return this.visitor(address);
  }

  private visitor(address: string): Visitor {
    let site: string | null = null;
    const proven = () => {
      this.unproven--;
      add(this.unprovenByAddress, address, -1);
    };
    return {
      failed: () => this.fail(address),
      proven: (name) => {
        if ((this.provenBySite.get(name) ?? 0) >= maxConnectionsPerPeer) return false;
        site = name;
        proven();
        add(this.provenBySite, site, 1);
        this.failuresByAddress.delete(address);
        return true;
      },
      left: () => {
        if (site === null) proven();
        else add(this.provenBySite, site, -1);
      },
    };
  }

  private fail(address: string): boolean {
    const nowMs = this.now();
    const before = this.failuresByAddress.get(address);
    const count = before && nowMs - before.lastMs < forgetAfterMs ? before.count + 1 : 1;
    const waitMs =
      count <= freeFailures ? 0 : Math.min(firstWaitMs * 2 ** (count - freeFailures - 1), lastWaitMs);
    // Put last again: the map's order is that of the failures.
    this.failuresByAddress.delete(address);
    this.failuresByAddress.set(address, { count, lastMs: nowMs, waitUntilMs: nowMs + waitMs });
    if (this.failuresByAddress.size > maxAddresses) {
      const [oldest] = this.failuresByAddress.keys();
      this.failuresByAddress.delete(oldest);
    }
    return waitMs > 0;
  }
}

function add(counts: Map<string, number>, key: string, change: 1 | -1): void {
  const count = (counts.get(key) ?? 0) + change;
  if (count === 0) counts.delete(key);
  else counts.set(key, count);
}

/** What counts as one address: one of IPv4, and a /64 of IPv6, since one host has all of it. */
function groupOf(ip: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(ip);
  if (mapped) return mapped[1];
  if (!isIPv6(ip)) return ip;
  const [head, tail] = ip.replace(/%.*$/, "").split("::");
  const before = head === "" ? [] : head.split(":");
  const after = tail ? tail.split(":") : [];
  const groups =
    tail === undefined ? before : [...before, ...Array(8 - before.length - after.length).fill("0"), ...after];
  return groups.slice(0, 4).join(":");
}

/**
 * Which VMs may move between this site and a peer. What no pattern allows is refused.
 *
 *     peers:
 *       b: {url: …, maySend: ["web*"], mayReceive: ["web1", "db?"]}
 *
 * A pattern is the name of a VM in which `*` stands for any characters, also none, and `?` for any one character.
 */

import type { SiteConfig } from "./site-config.ts";

type Peers = SiteConfig["peers"];

/** True if `peer` may send `vm` to this site. A peer that the configuration does not have may send nothing. */
export function maySend(peers: Peers, peer: string, vm: string): boolean {
  return Object.hasOwn(peers, peer) && peers[peer].maySend.some((pattern) => matchesPattern(pattern, vm));
}

/** True if `vm` may go from this site to `peer`. A peer that the configuration does not have receives nothing. */
export function mayReceive(peers: Peers, peer: string, vm: string): boolean {
  return Object.hasOwn(peers, peer) && peers[peer].mayReceive.some((pattern) => matchesPattern(pattern, vm));
}

/** True if `vm` may move between this site and `peer`, in whatever direction: then they may talk about it. */
export function mayMove(peers: Peers, peer: string, vm: string): boolean {
  return maySend(peers, peer, vm) || mayReceive(peers, peer, vm);
}

/**
 * True if the whole of `name` fits the pattern. It goes back to the last `*` only, which is enough, so that it takes
 * at most as many steps as the product of both lengths.
 */
export function matchesPattern(pattern: string, name: string): boolean {
  let inPattern = 0;
  let inName = 0;
  let star = -1;
  let afterStar = 0;
  while (inName < name.length) {
    const wanted = pattern[inPattern];
    if (wanted === "*") {
      star = inPattern++;
      afterStar = inName;
    } else if (wanted === "?" || wanted === name[inName]) {
      inPattern++;
      inName++;
    } else if (star >= 0) {
      inPattern = star + 1;
      inName = ++afterStar;
    } else {
      return false;
    }
  }
  while (pattern[inPattern] === "*") inPattern++;
  return inPattern === pattern.length;
}

/**
 * A link with real TCP between two network namespaces of this machine, delayed, shaped and lossy by the kernel's netem:
 *
 *     namespace A ── veth, netem ── veth, netem ── namespace B
 *
 * Needs root, `ip` and `tc` (iproute2) and a kernel with netem. Nothing is left of it when it is closed.
 */

import { execFile } from "node:child_process";
import process from "node:process";
import { promisify } from "node:util";

const run = promisify(execFile);
const [addressA, addressB] = ["10.203.17.1", "10.203.17.2"];
const packetBytes = 1500;
const congestionSetting = "net.ipv4.tcp_congestion_control";

/** What the link is like. */
export interface LossyLinkShape {
  readonly bitsPerSecond: number;
  readonly rttMs: number;
  /** Part of the packets that is lost in each direction, such as 0.0001. */
  readonly loss: number;
  /** TCP's congestion control at both ends; null: what this system has by itself. */
  readonly congestion: string | null;
}

/** A link between two namespaces. */
export interface NamespaceLink {
  /** What to put before a command so that it runs at that end. */
  readonly atA: readonly string[];
  readonly atB: readonly string[];
  readonly addressOfB: string;
  /** TCP's congestion control. */
  readonly congestion: string;
  close(): Promise<void>;
}

/** How a command is run in a namespace that is there. */
export function inNamespace(name: string): readonly string[] {
  return ["ip", "netns", "exec", name];
}

/** TCP's congestion control there. */
export async function congestionAt(name: string): Promise<string> {
  const { stdout } = await run("ip", ["netns", "exec", name, "sysctl", "-n", congestionSetting]);
  return stdout.trim();
}

/** Makes the link. Rejects with an Error that says what is missing; nothing is left then. */
export async function openNamespaceLink(shape: LossyLinkShape): Promise<NamespaceLink> {
  const [a, b] = [`bfmig-bench-${process.pid}-a`, `bfmig-bench-${process.pid}-b`];
  const close = async () => {
    for (const name of [a, b]) await run("ip", ["netns", "del", name]).catch(() => {});
  };
  try {
    for (const name of [a, b]) await run("ip", ["netns", "add", name]);
    await run("ip", ["-n", a, "link", "add", "wan0", "type", "veth", "peer", "name", "wan0", "netns", b]);
    await openEnd(a, `${addressA}/30`, shape);
    await openEnd(b, `${addressB}/30`, shape);
    const congestion = await congestionAt(a);
    return { atA: inNamespace(a), atB: inNamespace(b), addressOfB: addressB, congestion, close };
  } catch (error) {
    await close();
    const { stderr, message } = error as Error & { stderr?: string };
    throw new Error((stderr?.trim() || message).replace(/\s+/g, " "));
  }
}

async function openEnd(name: string, address: string, shape: LossyLinkShape): Promise<void> {
  const { bitsPerSecond, rttMs, loss, congestion } = shape;
  // What is under way, and a queue of one bandwidth-delay product behind it.
  const packets = Math.ceil((1.5 * bitsPerSecond * rttMs) / 8000 / packetBytes) + 100;
  const ip = (...args: string[]) => run("ip", ["-n", name, ...args]);
  await ip("address", "add", address, "dev", "wan0");
  // Every packet is one of the wire: netem would lose, or keep, 64 KiB at a time.
  await ip("link", "set", "wan0", "gso_max_segs", "1", "up");
  await ip("link", "set", "lo", "up");
  // What one connection has found out about the way must not help the next.
  const settings = ["net.ipv4.tcp_no_metrics_save=1"];
  if (congestion !== null) settings.push(`${congestionSetting}=${congestion}`);
  await run("ip", ["netns", "exec", name, "sysctl", "-qw", ...settings]);
  await run("tc", [
    ...["-n", name, "qdisc", "add", "dev", "wan0", "root", "netem", "limit", `${packets}`],
    ...["delay", `${rttMs / 2}ms`, "loss", `${100 * loss}%`, "rate", `${Math.round(bitsPerSecond)}bit`],
  ]);
}

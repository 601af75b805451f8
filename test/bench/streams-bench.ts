/**
 * Benchmark of striped legs: the frames of a first leg over 1, 2, 4 and 8 connections, all figures from one run:
 *
 *     npm run bench:streams [-- [--json] [--mebibytes 128] [--streams 1,2,4,8] [--runs 1]
 *                               [--rate 200] [--rtt 200] [--loss 0.01] [--congestion NAME]
 *                               [--namespaces A,B --address IP]]
 *
 * Rate in Mbit/s, round trip in ms, loss in percent of the packets in each direction; TCP's congestion control is what
 * the system has, unless one is named. The link has real TCP, between two
 * network namespaces that are made for it, where root, iproute2 and a kernel with netem allow; else it is the project's
 * relay, which cannot show loss. `--namespaces` takes a link that is there: two namespaces, and the address of B in B.
 *
 * One end runs in each: a leg's link with its window, TLS, and acknowledgements, but without QEMU and store.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { forkLink } from "../../cli/demo/link-process.ts";
import { readCommandLine, refuse } from "../command-line.ts";
import { makeIdentity } from "../wan/identities.ts";
import { congestionAt, inNamespace, openNamespaceLink } from "./bench-namespaces.ts";
import { machine, median } from "./measure.ts";
import type { EndReply, EndRequest } from "./streams-end.ts";

const program = fileURLToPath(import.meta.url).replace("streams-bench", "streams-end");

const { values } = readCommandLine({
  options: {
    json: { type: "boolean" },
    mebibytes: { type: "string", default: "128" },
    streams: { type: "string", default: "1,2,4,8" },
    runs: { type: "string", default: "1" },
    rate: { type: "string", default: "200" },
    rtt: { type: "string", default: "200" },
    loss: { type: "string", default: "0.01" },
    congestion: { type: "string" },
    namespaces: { type: "string" },
    address: { type: "string" },
  },
});
const bytes = number("mebibytes", 1) * 2 ** 20;
const runs = number("runs", 1);
const counts = values.streams.split(",").map(Number);
if (!counts.every((count) => Number.isInteger(count) && count >= 1 && count <= 16))
  refuse(`Cannot run --streams ${values.streams}: whole numbers from 1 to 16 are needed`);
const shape = {
  bitsPerSecond: number("rate", 0.1) * 1e6,
  rttMs: number("rtt", 0),
  loss: number("loss", 0) / 100,
  congestion: values.congestion ?? null,
};
const given = values.namespaces?.split(",");
if (given && (given.length !== 2 || values.address === undefined))
  refuse("Cannot use --namespaces: two names are needed, and --address");

/** The link that is measured. */
interface BenchLink {
  readonly description: string;
  /** False if packets are not lost on it: then streams have little to show. */
  readonly canLose: boolean;
  readonly atA: readonly string[];
  readonly atB: readonly string[];
  /** Where B listens. */
  readonly host: string;
  /** Where A reaches B, which listens on that port. */
  reach(port: number): Promise<string>;
  close(): Promise<void>;
}

const link = await openLink();
try {
  const result = await measure(link);
  console.log(values.json ? JSON.stringify({ event: "done", ...result }) : describe(result));
} finally {
  await link.close();
}

async function openLink(): Promise<BenchLink> {
  const words = `${values.rate} Mbit/s, ${values.rtt} ms`;
  if (given) {
    const [a, b] = given.map((name) => inNamespace(name));
    const host = values.address as string;
    const congestion = await congestionAt(given[0] as string);
    const description = `real TCP (${congestion}) between the namespaces ${given.join(" and ")}, as they are`;
    return {
      description,
      canLose: true,
      atA: a ?? [],
      atB: b ?? [],
      host,
      reach: async (port) => `${host}:${port}`,
      close: async () => {},
    };
  }
  try {
    const { atA, atB, addressOfB: host, congestion, close } = await openNamespaceLink(shape);
    const description = `real TCP (${congestion}), ${words}, ${values.loss} % loss by netem`;
    return {
      description,
      canLose: true,
      atA,
      atB,
      host,
      reach: async (port) => `${host}:${port}`,
      close,
    };
  } catch (error) {
    say(`no link with real TCP here: ${(error as Error).message}`);
  }
  const closing: (() => Promise<void>)[] = [];
  return {
    description: `the project's relay, ${words}, no loss`,
    canLose: false,
    atA: [],
    atB: [],
    host: "127.0.0.1",
    reach: async (targetPort) => {
      const relay = await forkLink({
        targetHost: "127.0.0.1",
        targetPort,
        rateBitsPerSecond: shape.bitsPerSecond,
        oneWayDelayMs: shape.rttMs / 2,
      });
      closing.push(() => relay.close());
      return `127.0.0.1:${relay.port}`;
    },
    close: async () => {
      for (const close of closing) await close();
    },
  };
}

async function measure(link: BenchLink) {
  const [a, b] = [await makeIdentity("a"), await makeIdentity("b")];
  const fingerprintOf = ({ tls }: typeof a) => tls?.fingerprint as string;
  const destination = startEnd(link.atB);
  const source = startEnd(link.atA);
  try {
    const { port } = await ask(
      destination,
      { kind: "listen", host: link.host, identity: b, peerFingerprint: fingerprintOf(a) },
      "listening",
    );
    const url = `wss://${await link.reach(port)}`;
    const rows = [];
    for (const streams of counts) {
      const sent = [];
      for (let run = 0; run < runs; run++) {
        say(`${values.mebibytes} MiB over ${streams} connection${streams === 1 ? "" : "s"}`);
        const request = { kind: "send", url, identity: a, peerFingerprint: fingerprintOf(b) } as const;
        sent.push(await ask(source, { ...request, streams, bytes }, "sent"));
      }
      const ms = median(sent.map((one) => one.ms));
      const { wireBytes, resentBytes } = sent.find((one) => one.ms === ms) as (typeof sent)[number];
      rows.push({
        streams,
        ms: Math.round(ms),
        mbitPerSecond: (8 * bytes) / ms / 1000,
        wireBytes,
        resentBytes,
      });
    }
    const one = rows.find(({ streams }) => streams === 1);
    return {
      machine,
      link: link.description,
      canLose: link.canLose,
      bytes,
      runs,
      streams: rows.map((row) => ({ ...row, ratio: one ? one.ms / row.ms : null })),
    };
  } finally {
    for (const child of [source, destination]) await end(child);
  }
}

function startEnd(prefix: readonly string[]): ChildProcess {
  const [command, ...args] = [...prefix, process.execPath, program];
  return spawn(command as string, args, { stdio: ["ignore", "ignore", "inherit", "ipc"] });
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, "exit");
  if (child.connected) child.disconnect();
  await exited;
}

async function ask<Kind extends EndReply["kind"]>(child: ChildProcess, request: EndRequest, kind: Kind) {
  const gone = once(child, "exit").then(() => {
    throw new Error("Cannot measure: an end of the leg has exited");
  });
  gone.catch(() => {});
  child.send(request);
  const [reply] = (await Promise.race([once(child, "message"), gone])) as [EndReply];
  if (reply.kind !== kind)
    throw new Error(`Cannot measure: ${"message" in reply ? reply.message : reply.kind}`);
  return reply as Extract<EndReply, { kind: Kind }>;
}

function describe({ link, canLose, streams }: Awaited<ReturnType<typeof measure>>): string {
  const lines = [machine, `link: ${link}`];
  for (const { streams: count, ms, mbitPerSecond, ratio, resentBytes } of streams) {
    lines.push(
      `${String(count).padStart(2)} connection${count === 1 ? " " : "s"}  ${(ms / 1000).toFixed(1)} s, ` +
        `${mbitPerSecond.toFixed(1)} Mbit/s${ratio === null ? "" : `, ${ratio.toFixed(2)} times one`}` +
        `${resentBytes > 0 ? `, ${resentBytes} bytes sent again` : ""}`,
    );
  }
  if (!canLose) lines.push("nothing is lost on this link: what streams are for does not show here");
  return lines.join("\n");
}

function number(option: "mebibytes" | "runs" | "rate" | "rtt" | "loss", least: number): number {
  const value = Number(values[option]);
  if (!(value >= least) || value > 1e6)
    refuse(`Cannot run --${option} ${values[option]}: it must be ${least} or more`);
  return value;
}

function say(step: string): void {
  process.stderr.write(`- ${step}\n`);
}

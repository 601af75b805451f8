/**
 * One end of a leg for the benchmark of streams, in a process of its own: everything between QEMU and the store is real,
 * from the source's window over TLS to the acknowledgement, but frames are made up and kept nowhere.
 *
 *     parent → child: EndRequest        child → parent: EndReply
 */

import { randomBytes, randomFillSync, randomUUID } from "node:crypto";
import process from "node:process";
import { DestinationLink } from "../../cli/leg/destination-link.ts";
import { firstFrame } from "../../cli/leg/frame-order.ts";
import { Replies } from "../../cli/leg/replies.ts";
import { SourceLink } from "../../cli/leg/source-link.ts";
import { type PeerConnection, protocolError } from "../../cli/wan/connection.ts";
import { DeliveryRate } from "../../cli/wan/delivery-rate.ts";
import { dial, type Identity } from "../../cli/wan/handshake.ts";
import { listen } from "../../cli/wan/listener.ts";
import type { MessageOf } from "../../cli/wan/messages.ts";
import { loadCore } from "../../src/core.ts";
import { decodeFrameHeader, sealFrame } from "../../src/delta/frame.ts";
import { FrameKind, frameLimits } from "../../src/delta/vocabulary.ts";

const linkTimeoutMs = 60_000;
/** No run takes so long. */
const stuckMs = 1_200_000;
const root = "00".repeat(32);

/** What a parent asks for. */
export type EndRequest =
  | {
      readonly kind: "listen";
      readonly host: string;
      readonly identity: Identity;
      readonly peerFingerprint: string;
    }
  | {
      readonly kind: "send";
      readonly url: string;
      readonly identity: Identity;
      readonly peerFingerprint: string;
      readonly streams: number;
      readonly bytes: number;
    };

/** What a child answers. */
export type EndReply =
  | { readonly kind: "listening"; readonly port: number }
  | { readonly kind: "sent"; readonly ms: number; readonly wireBytes: number; readonly resentBytes: number }
  | { readonly kind: "failed"; readonly message: string };

process.on("message", (request: EndRequest) => {
  const work = request.kind === "listen" ? listenForLegs(request) : sendLeg(request);
  work.then(
    (reply) => process.send?.(reply),
    (error) => process.send?.({ kind: "failed", message: String(error) } satisfies EndReply),
  );
});
process.on("disconnect", () => process.exit(0));

async function listenForLegs(request: Extract<EndRequest, { kind: "listen" }>): Promise<EndReply> {
  const legs = new Map<string, DestinationLink>();
  const { host, identity, peerFingerprint } = request;
  const listener = await listen({
    host,
    port: 0,
    identity,
    peers: { a: { fingerprint: peerFingerprint } },
    onPeer: (connection) => void serve(connection, legs),
    onRefused: (_address, reason) => process.stderr.write(`${reason}\n`),
  });
  return { kind: "listening", port: listener.address.port };
}

async function serve(connection: PeerConnection, legs: Map<string, DestinationLink>): Promise<void> {
  const first = await connection.next(linkTimeoutMs);
  const message = "message" in first ? first.message : null;
  if (message?.type === "join") return legs.get(message.leg)?.join(connection, message.stream);
  if (message?.type !== "prepare") return connection.close();
  const link: DestinationLink = new DestinationLink({
    legId: message.leg,
    connection,
    timeoutMs: message.linkTimeoutMs,
    streams: message.streams,
    onIncoming: (incoming) => {
      if ("frame" in incoming) link.acknowledge(decodeFrameHeader(incoming.frame).sequence);
      else if (incoming.message.type === "finish") link.send({ type: "prepared", root });
      else if (incoming.message.type === "abort") link.end();
    },
    onGivenUp: (error) => {
      link.end();
      connection.fail(error.message);
    },
    warn: (text) => process.stderr.write(`${text}\n`),
  });
  legs.set(message.leg, link);
  link.send({ type: "offer", have: [] });
}

/** Sends so many bytes as a leg does, from `prepare` to `prepared`, on a main connection that is there before. */
async function sendLeg(request: Extract<EndRequest, { kind: "send" }>): Promise<EndReply> {
  const { url, identity, peerFingerprint, streams, bytes } = request;
  const connect = () => dial("b", { url, fingerprint: peerFingerprint }, identity);
  const ready = await connect();
  const replies = new Replies("b");
  const rate = new DeliveryRate();
  let wake = () => {};
  let fail: (error: Error) => void = () => {};
  const failed = new Promise<never>((_resolve, reject) => {
    fail = reject;
  });
  const legId = randomUUID();
  const link = new SourceLink({
    legId,
    vm: "bench",
    peer: "b",
    connect: async () => ready,
    reconnect: connect,
    streams,
    bytesPerSecond: null,
    patience: { timeoutMs: linkTimeoutMs, beatMs: 2_000, silenceMs: 10_000 },
    onIncoming: (incoming) => {
      if ("frame" in incoming) return fail(protocolError("b", "a frame came"));
      const { message } = incoming;
      if (message.type === "offer" || message.type === "prepared") replies.put(message);
      else fail(protocolError("b", `'${message.type}' came`));
    },
    onChange: () => wake(),
    onDelivered: (sequence) => {
      rate.acknowledged(sequence, performance.now());
      wake();
    },
    onResend: () => rate.restart(performance.now()),
    onFailed: (error) => fail(error),
    warn: (text) => process.stderr.write(`${text}\n`),
  });
  const frames = await frameMaker();
  await link.open();
  const before = performance.now();
  link.send(prepareOf(legId, streams));
  await Promise.race([replies.wait("offer", stuckMs), failed]);
  const regions = [{ name: "pc.ram", kind: "ram", lengthBytes: 1 << 30 } as const];
  link.send({ type: "begin", generation: 1, base: null, machine: "pc", regions });
  let sequence = firstFrame;
  for (let sent = 0; sent < bytes; sequence++) {
    const isFull = () => rate.unacknowledgedBytes > rate.windowBytes(performance.now());
    while (isFull()) {
      const moved = new Promise<void>((resolve) => {
        wake = resolve;
      });
      await Promise.race([moved, failed]);
    }
    const frame = frames(sequence);
    rate.sent(sequence, frame.length, performance.now());
    link.sendFrame(frame, sequence);
    sent += frame.length;
  }
  link.send({ type: "finish", root, sequence: sequence - 1, ageMs: 0 });
  await Promise.race([replies.wait("prepared", stuckMs), failed]);
  const ms = performance.now() - before;
  const { wireBytes, resentBytes } = link;
  link.close({ type: "abort", reason: "cancelled", message: "that was all" });
  return { kind: "sent", ms, wireBytes, resentBytes };
}

function prepareOf(leg: string, streams: number): MessageOf<"prepare"> {
  const vm = {
    name: "bench",
    machine: "pc",
    cpu: "qemu64",
    memoryBytes: 1 << 30,
    accelerator: "tcg",
  } as const;
  return {
    type: "prepare",
    purpose: "handover",
    leg,
    vm: { ...vm, disks: [] },
    ramBlock: "pc.ram",
    epoch: 1,
    key: root,
    linkTimeoutMs,
    streams,
  };
}

/** Frames of 64 pages that no codec makes smaller, as large as those of a guest's memory; only their numbers differ. */
async function frameMaker(): Promise<(sequence: number) => Uint8Array> {
  const core = await loadCore();
  const start = { kind: FrameKind.pages, region: 0, sequence: firstFrame, records: frameLimits.wholePages };
  const pages = new Uint8Array(frameLimits.wholePages * 4096);
  randomFillSync(pages);
  const template = sealFrame(core, start, randomBytes(frameLimits.wholePages * 4), pages);
  return (sequence) => {
    const frame = template.slice();
    new DataView(frame.buffer).setUint32(8, sequence, true);
    return frame;
  };
}

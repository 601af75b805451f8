/**
 * Control messages between agents: JSON text in WebSocket text messages. Frames travel as binary messages.
 *
 *     dialling site (source)               listening site (destination)
 *                      ◄───────── challenge
 *     hello            ─────────►
 *                      ◄───────── welcome
 *     prepare          ─────────►           which VM, which epoch
 *                      ◄───────── offer     generations that are here
 *     begin            ─────────►           the new generation, the base that both have, the regions
 *     frames           ═════════►
 *                      ◄───────── ack       frame is in the store
 *     finish           ─────────►           root
 *                      ◄───────── prepared  root
 *     commit           ─────────►           epoch
 *                      ◄───────── running
 *     keep             ─────────►           (instead of commit, in a checkpoint) the peer keeps the generation
 *                      ◄───────── kept
 *     holder, frames   ═════════►           what other sites hold
 *                      ◄───────── noted
 *     resume           ─────────►           (on another connection) the leg goes on
 *                      ◄───────── resumed   what is here of it
 *     join             ─────────►           (on a further connection) it carries frames of the leg too
 *                      ◄───────── joined
 *                      ◄───────── arrived   frames that have come on this connection
 *     settle           ─────────►           (any time later) was epoch e accepted?
 *                      ◄───────── settled
 *     claims           ─────────►           what each site knows about who has which VM
 *                      ◄───────── claimed
 *     abort            ◄────────►
 *
 * Every message is checked against its schema before anything is done with it.
 */

import { z } from "zod";
import { FormatError } from "../../src/errors.ts";
import { diskLimits, isDiskName } from "../../src/generation/disks.ts";
import { geometryLimits } from "../../src/generation/geometry.ts";
import { accelerators } from "../../src/generation/manifest.ts";
import { diskBuses } from "../config/vm-definition.ts";
import { isValidName } from "../store/vm-name.ts";

/** Version of this protocol; peers with another one are refused by name. */
export const protocolVersion = 6;

/** Longest text message in characters. */
export const maxMessageLength = 1 << 18;

/** What a leg is for: the VM moves, or it stays and the peer gets a copy: one that can be restarted, or one to build on only. */
export const legPurposes = ["handover", "checkpoint", "seed"] as const;
export type LegPurpose = (typeof legPurposes)[number];

/** Most VMs in one message about ownership. */
export const maxClaims = 512;
/** Most connections that a leg may be striped over. */
export const maxStreams = 16;
/** Greatest age of a state when it has been sent, in milliseconds: ten years. */
const maxAgeMs = 10 * 365 * 24 * 3600 * 1000;
/** Longest time that a leg may wait for its link, in milliseconds. */
export const maxLinkTimeoutMs = 24 * 3600 * 1000;

const name = z.string().refine(isValidName, "is not a valid name");
const hex32 = z.string().regex(/^[0-9a-f]{64}$/);
const generationId = z.strictObject({ generation: z.int().positive(), root: hex32 });
const region = z.strictObject({
  name: z.string().min(1).max(geometryLimits.nameBytes),
  kind: z.literal("ram"),
  lengthBytes: z.int().positive(),
});

const diskShape = {
  name: z.string().refine(isDiskName, "is not a valid name of a disk"),
  lengthBytes: z.int().positive().max(diskLimits.lengthBytes),
};

/** What a site knows of who may run a VM: its own ownership record. */
const claim = z.strictObject({
  vm: name,
  state: z.enum(["none", "owned", "released", "away"]),
  epoch: z.int().nonnegative(),
  /** The leg out of this site that is under way now, if any. */
  leg: z.uuid().nullable(),
});
const claims = z.array(claim).max(maxClaims);

/** The parts of a definition that may come from a peer: never arguments, paths or executables. */
const travellingDefinition = z.strictObject({
  name,
  machine: z.string().regex(/^[a-zA-Z0-9._-]{1,64}$/),
  cpu: z.string().regex(/^[a-zA-Z0-9._+-]{1,64}$/),
  memoryBytes: z.int().positive(),
  /** What runs the VM now: its device state fits no other accelerator. */
  accelerator: z.enum(accelerators),
  /** Disks that move with it, in the order of their devices. */
  disks: z.array(z.strictObject({ ...diskShape, bus: z.enum(diskBuses) })).max(diskLimits.disks),
});

const messageSchemas = {
  challenge: z.strictObject({ type: z.literal("challenge"), protocol: z.int(), nonce: hex32 }),
  hello: z.strictObject({
    type: z.literal("hello"),
    protocol: z.int(),
    site: name,
    nonce: hex32,
    mac: hex32,
  }),
  welcome: z.strictObject({ type: z.literal("welcome"), site: name, mac: hex32 }),
  prepare: z.strictObject({
    type: z.literal("prepare"),
    leg: z.uuid(),
    purpose: z.enum(legPurposes),
    vm: travellingDefinition,
    ramBlock: z.string().min(1).max(geometryLimits.nameBytes),
    epoch: z.int().positive(),
    /** The VM's digest key. */
    key: hex32,
    /** How long both sides keep the leg while the link is lost. */
    linkTimeoutMs: z.int().positive().max(maxLinkTimeoutMs),
    /** Connections that may carry its frames. */
    streams: z.int().positive().max(maxStreams),
  }),
  offer: z.strictObject({ type: z.literal("offer"), have: z.array(generationId).max(1024) }),
  begin: z.strictObject({
    type: z.literal("begin"),
    /** Number of the new generation: above all that either site has. */
    generation: z.int().positive(),
    base: generationId.nullable(),
    machine: z.string().min(1).max(255),
    regions: z.array(region).min(1).max(geometryLimits.regions),
  }),
  ack: z.strictObject({ type: z.literal("ack"), sequence: z.int().nonnegative() }),
  finish: z.strictObject({
    type: z.literal("finish"),
    root: hex32,
    sequence: z.int().positive(),
    /** How long ago the VM was stopped in this state. */
    ageMs: z.int().nonnegative().max(maxAgeMs),
  }),
  prepared: z.strictObject({ type: z.literal("prepared"), root: hex32 }),
  commit: z.strictObject({ type: z.literal("commit"), epoch: z.int().positive() }),
  running: z.strictObject({ type: z.literal("running"), epoch: z.int().positive() }),
  keep: z.strictObject({ type: z.literal("keep") }),
  kept: z.strictObject({ type: z.literal("kept"), generation: z.int().positive() }),
  resume: z.strictObject({
    type: z.literal("resume"),
    leg: z.uuid(),
    vm: name,
    /** Messages of the leg, other than `ack` and `arrived`, that the source has had from the destination. */
    messages: z.int().nonnegative(),
  }),
  resumed: z.strictObject({
    type: z.literal("resumed"),
    leg: z.uuid(),
    /** Messages of the leg that the destination has had from the source; 0: it does not know the leg. */
    messages: z.int().nonnegative(),
    /** Number of the last frame in its store. */
    sequence: z.int().positive(),
  }),
  join: z.strictObject({
    type: z.literal("join"),
    leg: z.uuid(),
    vm: name,
    /** Which of the leg's connections this is; the main one is 0. */
    stream: z
      .int()
      .positive()
      .max(maxStreams - 1),
  }),
  joined: z.strictObject({
    type: z.literal("joined"),
    leg: z.uuid(),
    stream: z
      .int()
      .positive()
      .max(maxStreams - 1),
  }),
  /** Frames of a striped leg that have come on this connection so far, stored or not. */
  arrived: z.strictObject({ type: z.literal("arrived"), frames: z.int().positive() }),
  claims: z.strictObject({ type: z.literal("claims"), claims }),
  claimed: z.strictObject({ type: z.literal("claimed"), claims }),
  holder: z.strictObject({
    type: z.literal("holder"),
    site: name,
    id: generationId,
    /** Digest of that generation's device state, to check the root with; null if no digests follow. */
    deviceDigest: hex32.nullable(),
    frames: z
      .int()
      .nonnegative()
      .max(1 << 16),
  }),
  noted: z.strictObject({ type: z.literal("noted") }),
  settle: z.strictObject({ type: z.literal("settle"), vm: name, epoch: z.int().positive() }),
  settled: z.strictObject({
    type: z.literal("settled"),
    vm: name,
    epoch: z.int().positive(),
    outcome: z.enum(["owned", "refused"]),
    /** Newest epoch that the listener knows of. */
    newest: z.int().nonnegative(),
  }),
  abort: z.strictObject({
    type: z.literal("abort"),
    reason: z.enum(["failed", "refused", "cancelled"]),
    message: z.string().max(4096),
  }),
} as const;

const anyMessage = z.discriminatedUnion("type", [
  messageSchemas.challenge,
  messageSchemas.hello,
  messageSchemas.welcome,
  messageSchemas.prepare,
  messageSchemas.offer,
  messageSchemas.begin,
  messageSchemas.ack,
  messageSchemas.finish,
  messageSchemas.prepared,
  messageSchemas.commit,
  messageSchemas.running,
  messageSchemas.keep,
  messageSchemas.kept,
  messageSchemas.resume,
  messageSchemas.resumed,
  messageSchemas.join,
  messageSchemas.joined,
  messageSchemas.arrived,
  messageSchemas.claims,
  messageSchemas.claimed,
  messageSchemas.holder,
  messageSchemas.noted,
  messageSchemas.settle,
  messageSchemas.settled,
  messageSchemas.abort,
]);

/** Any message of the protocol. */
export type Message = z.infer<typeof anyMessage>;
export type MessageType = Message["type"];
/** The message of one type. */
export type MessageOf<T extends MessageType> = Extract<Message, { type: T }>;
/** What a site says of one VM. */
export type Claim = z.infer<typeof claim>;

/** Reads and checks a text message. Throws FormatError that names the field. */
export function decodeMessage(text: string): Message {
  if (text.length > maxMessageLength) {
    throw new FormatError(
      "bad-length",
      `Cannot read message: ${text.length} characters exceed ${maxMessageLength}`,
    );
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new FormatError("bad-value", "Cannot read message: it is not JSON");
  }
  const parsed = anyMessage.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw new FormatError(
      "bad-value",
      `Cannot read message: ${issue.path.join(".") || "type"}: ${issue.message}`,
    );
  }
  return parsed.data;
}

export function encodeMessage(message: Message): string {
  return JSON.stringify(message);
}

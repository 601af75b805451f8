/**
 * The handshake of NBD, as a conversation that knows no sockets.
 *
 *     greeting -> STRUCTURED_REPLY -> [SET_META_CONTEXT] -> GO -> transmission
 *
 *     data of SET_META_CONTEXT   name length u32 | export name | queries u32 | (length u32 | context)*
 *     data of GO                 name length u32 | export name | infos u16 | info type u16 *
 *     a META_CONTEXT reply       context id u32 | context
 *     an INFO reply              info type u16 | EXPORT: size u64 | transmission flags u16
 *                                              | BLOCK_SIZE: minimum u32 | preferred u32 | largest payload u32
 */

import { concatBytes } from "../../src/bytes.ts";
import { FormatError } from "../../src/errors.ts";
import { OperationError } from "../errors.ts";
import {
  GREETING_MAGIC,
  HandshakeFlag,
  Info,
  MAX_PAYLOAD_BYTES,
  MAX_STRING_BYTES,
  OPTION_ERROR_BIT,
  OPTION_MAGIC,
  OPTION_REPLY_MAGIC,
  OPTION_UNSUPPORTED,
  Option,
  OptionReply,
  optionErrorName,
  refusal,
  serverText,
  TransmissionFlag,
} from "./vocabulary.ts";

/** Longest data of an option reply: a string and a few numbers. */
const MAX_OPTION_REPLY_BYTES = MAX_STRING_BYTES + 64;
/** Most replies to one option, as no server has that much to say. */
const MAX_OPTION_REPLIES = 256;
const GREETING_BYTES = 18;
const OPTION_HEADER_BYTES = 16;
const OPTION_REPLY_HEADER_BYTES = 20;
/** Largest smallest unit that the protocol allows. */
const MAX_MINIMUM_BLOCK_BYTES = 64 * 1024;

/** What both sides agreed upon. */
export interface NegotiatedExport {
  readonly sizeBytes: number;
  readonly isReadOnly: boolean;
  readonly canFlush: boolean;
  readonly canWriteZeroes: boolean;
  /** Offsets and lengths of requests must be multiples of it. */
  readonly minimumBlockBytes: number;
  readonly maxRequestBytes: number;
  /** Names of the granted contexts by their ids. */
  readonly contexts: ReadonlyMap<number, string>;
}

/** The next thing to do: send bytes, or receive exactly that many. */
export type NegotiationStep = { readonly send: Uint8Array } | { readonly receiveBytes: number };

/** The handshake. `next` takes the bytes that the last step asked for; they need not stay as they are. */
export type Conversation<T> = Generator<NegotiationStep, T, Uint8Array>;

interface Reply {
  readonly type: number;
  readonly data: DataView;
}

/**
 * Opens an export. Throws `OperationError` when the server refuses, `FormatError` when it does not follow the protocol.
 * Contexts that the server does not have are left out of the result.
 */
export function* negotiate(exportName: string, contexts: readonly string[]): Conversation<NegotiatedExport> {
  yield* greet();
  const name = encodeString(exportName);
  const structured = yield* ask(Option.structuredReply, new Uint8Array(0));
  expectAck(structured, `open export ${exportName} with structured replies`);
  const granted = contexts.length === 0 ? new Map() : yield* selectContexts(name, exportName, contexts);
  const infos = concatBytes([name, u16(1), u16(Info.blockSize)]);
  const replies = yield* ask(Option.go, infos);
  expectAck(replies, `open export ${exportName}`);
  return { ...decodeInfos(replies), contexts: granted };
}

/** What to send to leave politely before the handshake is over. */
export function encodeAbort(): Uint8Array {
  return encodeOption(Option.abort, new Uint8Array(0));
}

function* greet(): Conversation<void> {
  const greeting = viewOf(yield { receiveBytes: GREETING_BYTES });
  if (greeting.getBigUint64(0) !== GREETING_MAGIC) throw bad("bad-magic", "this is not an NBD server");
  const flags = greeting.getUint16(16);
  if (greeting.getBigUint64(8) !== OPTION_MAGIC || (flags & HandshakeFlag.fixedNewstyle) === 0) {
    throw bad("unsupported", "the server does not speak the fixed newstyle");
  }
  yield { send: u32(flags & (HandshakeFlag.fixedNewstyle | HandshakeFlag.noZeroes)) };
}

function* selectContexts(
  name: Uint8Array,
  exportName: string,
  contexts: readonly string[],
): Conversation<Map<number, string>> {
  const queries = concatBytes([name, u32(contexts.length), ...contexts.map(encodeString)]);
  const replies = yield* ask(Option.setMetaContext, queries);
  const granted = new Map<number, string>();
  if (replies.at(-1)?.type === OPTION_UNSUPPORTED) return granted;
  expectAck(replies, `select contexts of export ${exportName}`);
  for (const { type, data } of replies) {
    if (type !== OptionReply.metaContext) continue;
    if (data.byteLength < 4) throw bad("bad-length", "the reply with a context is too short");
    const context = new TextDecoder().decode(bytesOf(data).subarray(4));
    const id = data.getUint32(0);
    if (!contexts.includes(context)) throw bad("bad-value", `nobody asked for the context ${context}`);
    if (granted.has(id) || [...granted.values()].includes(context)) {
      throw bad("bad-value", `the context ${context} with the id ${id} is not unique`);
    }
    granted.set(id, context);
  }
  return granted;
}

/** Sends an option and receives its replies, up to the final one: an ACK or an error. */
function* ask(option: number, data: Uint8Array): Conversation<Reply[]> {
  yield { send: encodeOption(option, data) };
  const replies: Reply[] = [];
  while (replies.length < MAX_OPTION_REPLIES) {
    const header = viewOf(yield { receiveBytes: OPTION_REPLY_HEADER_BYTES });
    const type = header.getUint32(12);
    const lengthBytes = header.getUint32(16);
    if (header.getBigUint64(0) !== OPTION_REPLY_MAGIC)
      throw bad("bad-magic", "an option reply has a wrong magic");
    if (header.getUint32(8) !== option) throw bad("bad-value", "a reply is to another option");
    if (lengthBytes > MAX_OPTION_REPLY_BYTES) {
      throw bad("bad-length", `an option reply of ${lengthBytes} bytes exceeds ${MAX_OPTION_REPLY_BYTES}`);
    }
    const payload = lengthBytes === 0 ? new Uint8Array(0) : (yield { receiveBytes: lengthBytes }).slice();
    replies.push({ type, data: viewOf(payload) });
    if (type === OptionReply.ack || type >= OPTION_ERROR_BIT) return replies;
  }
  throw bad("bad-length", `more than ${MAX_OPTION_REPLIES} replies to one option`);
}

function expectAck(replies: readonly Reply[], action: string): void {
  const last = replies.at(-1)!;
  if (last.type === OptionReply.ack) return;
  const text = serverText(bytesOf(last.data));
  throw refusal(action, optionErrorName(last.type), text);
}

function decodeInfos(replies: readonly Reply[]): Omit<NegotiatedExport, "contexts"> {
  let export_: { sizeBytes: number; flags: number } | undefined;
  let blocks = { minimumBlockBytes: 1, maxRequestBytes: MAX_PAYLOAD_BYTES };
  for (const { type, data } of replies) {
    if (type !== OptionReply.info) continue;
    if (data.byteLength < 2) throw bad("bad-length", "an information is too short");
    const kind = data.getUint16(0);
    if (kind === Info.export) export_ = decodeExport(data);
    if (kind === Info.blockSize) blocks = decodeBlockSize(data);
  }
  if (export_ === undefined) throw bad("bad-value", "the server does not tell the size of the export");
  const { sizeBytes, flags } = export_;
  return {
    ...blocks,
    sizeBytes,
    isReadOnly: (flags & TransmissionFlag.readOnly) !== 0,
    canFlush: (flags & TransmissionFlag.sendFlush) !== 0,
    canWriteZeroes: (flags & TransmissionFlag.sendWriteZeroes) !== 0,
  };
}

function decodeExport(data: DataView): { sizeBytes: number; flags: number } {
  if (data.byteLength !== 12) throw bad("bad-length", "the information on the export has a wrong length");
  const size = data.getBigUint64(2);
  if (size > BigInt(Number.MAX_SAFE_INTEGER))
    throw bad("unsupported", `an export of ${size} bytes is too large`);
  return { sizeBytes: Number(size), flags: data.getUint16(10) };
}

function decodeBlockSize(data: DataView): { minimumBlockBytes: number; maxRequestBytes: number } {
  if (data.byteLength !== 14) throw bad("bad-length", "the information on block sizes has a wrong length");
  const minimumBlockBytes = data.getUint32(2);
  const payloadBytes = Math.min(data.getUint32(10), MAX_PAYLOAD_BYTES);
  const isPowerOfTwo = minimumBlockBytes > 0 && (minimumBlockBytes & (minimumBlockBytes - 1)) === 0;
  if (!isPowerOfTwo || minimumBlockBytes > MAX_MINIMUM_BLOCK_BYTES || payloadBytes < minimumBlockBytes) {
    throw bad(
      "bad-value",
      `blocks of ${minimumBlockBytes} bytes in payloads of ${payloadBytes} make no sense`,
    );
  }
  return { minimumBlockBytes, maxRequestBytes: payloadBytes - (payloadBytes % minimumBlockBytes) };
}

function encodeOption(option: number, data: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(OPTION_HEADER_BYTES + data.length);
  const view = viewOf(bytes);
  view.setBigUint64(0, OPTION_MAGIC);
  view.setUint32(8, option);
  view.setUint32(12, data.length);
  bytes.set(data, OPTION_HEADER_BYTES);
  return bytes;
}

function encodeString(text: string): Uint8Array {
  const bytes = new TextEncoder().encode(text);
  if (bytes.length > MAX_STRING_BYTES || text.includes("\0")) {
    throw new OperationError("usage", `Cannot use ${JSON.stringify(text.slice(0, 80))} as a name in NBD`);
  }
  return concatBytes([u32(bytes.length), bytes]);
}

function u16(value: number): Uint8Array {
  return Uint8Array.of(value >>> 8, value & 0xff);
}

function u32(value: number): Uint8Array {
  return concatBytes([u16(value >>> 16), u16(value & 0xffff)]);
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function bytesOf(view: DataView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

function bad(code: FormatError["code"], what: string): FormatError {
  return new FormatError(code, `Cannot follow the NBD handshake: ${what}`);
}

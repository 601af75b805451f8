/**
 * The vocabulary of NBD, the network block device protocol: what a client and a server say to each other.
 * All numbers are big-endian.
 *
 *     handshake, fixed newstyle
 *       greeting      S  "NBDMAGIC" | "IHAVEOPT" | handshake flags u16
 *                     C  client flags u32
 *       option        C  "IHAVEOPT" | option u32 | length u32 | data
 *       option reply  S  0x0003e889045565a9 | option u32 | type u32 | length u32 | data
 *     transmission
 *       request       C  0x25609513 | flags u16 | command u16 | cookie u64 | offset u64 | length u32 | data of a write
 *       simple reply  S  0x67446698 | error u32 | cookie u64
 *       chunk         S  0x668e33ef | flags u16 | type u16 | cookie u64 | length u32 | payload
 *
 * A structured reply is one or more chunks with its cookie, the last one flagged as done. Chunks of different replies
 * may alternate.
 *
 * Source: https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md
 */

import { OperationError } from "../errors.ts";

export const GREETING_MAGIC = 0x4e42_444d_4147_4943n;
export const OPTION_MAGIC = 0x4948_4156_454f_5054n;
export const OPTION_REPLY_MAGIC = 0x0003_e889_0455_65a9n;
export const REQUEST_MAGIC = 0x2560_9513;
export const SIMPLE_REPLY_MAGIC = 0x6744_6698;
export const CHUNK_MAGIC = 0x668e_33ef;

export const HandshakeFlag = { fixedNewstyle: 1 << 0, noZeroes: 1 << 1 } as const;

export const Option = { abort: 2, go: 7, structuredReply: 8, setMetaContext: 10 } as const;

export const OptionReply = { ack: 1, info: 3, metaContext: 4 } as const;

/** Set in the type of an option reply that is an error. */
export const OPTION_ERROR_BIT = 0x8000_0000;

export const OPTION_UNSUPPORTED = 0x8000_0001;

/** By the lower bits of their types. */
const OPTION_ERROR_NAMES: readonly string[] = [
  "error",
  "UNSUP",
  "POLICY",
  "INVALID",
  "PLATFORM",
  "TLS_REQD",
  "UNKNOWN",
  "SHUTDOWN",
  "BLOCK_SIZE_REQD",
  "TOO_BIG",
];

export const Info = { export: 0, blockSize: 3 } as const;

export const TransmissionFlag = { readOnly: 1 << 1, sendFlush: 1 << 2, sendWriteZeroes: 1 << 6 } as const;

export const Command = {
  read: 0,
  write: 1,
  disconnect: 2,
  flush: 3,
  writeZeroes: 6,
  blockStatus: 7,
} as const;

/** `noHole`: zeroes must be allocated, not punched. */
export const CommandFlag = { noHole: 1 << 1 } as const;

export const CHUNK_FLAG_DONE = 1 << 0;

export const ChunkType = {
  none: 0,
  offsetData: 1,
  offsetHole: 2,
  blockStatus: 5,
  error: 0x8001,
  errorOffset: 0x8002,
} as const;

/** Set in the type of a chunk that is an error, also of one that we do not know. */
export const CHUNK_ERROR_BIT = 0x8000;

/** Longest string of the protocol: names of exports and contexts, messages. */
export const MAX_STRING_BYTES = 4096;

/** Most bytes that one request reads or writes, whatever the server offers: the protocol's own suggestion. */
export const MAX_PAYLOAD_BYTES = 32 * 1024 * 1024;

/** Most extents that one chunk may list: the protocol's own suggestion to servers. */
export const MAX_EXTENTS = 1 << 20;

/** Largest number that a length on the wire can be. */
export const MAX_U32 = 0xffff_ffff;

const ERROR_NAMES: Readonly<Record<number, string>> = {
  1: "EPERM",
  5: "EIO",
  12: "ENOMEM",
  22: "EINVAL",
  28: "ENOSPC",
  75: "EOVERFLOW",
  95: "ENOTSUP",
  108: "ESHUTDOWN",
};

/** Name of the error of a request, such as `ENOSPC`. */
export function errorName(code: number): string {
  return ERROR_NAMES[code] ?? `error ${code}`;
}

/**
 * Says that a server refused something. `action` is as in "Cannot `action`"; `text` is the server's, perhaps empty.
 * The cause has the error's name as its `code`.
 */
export function refusal(action: string, name: string, text: string): OperationError {
  return new OperationError(
    "failed",
    `Cannot ${action}: the server says ${name}${text === "" ? "" : `: ${text}`}`,
    { cause: Object.assign(new Error(name), { code: name }) },
  );
}

/** Name of the error of an option, such as `UNKNOWN`. */
export function optionErrorName(type: number): string {
  return OPTION_ERROR_NAMES[type - OPTION_ERROR_BIT] ?? `error 0x${type.toString(16)}`;
}

/** Text of a server, made fit for a terminal and the end of a message. */
export function serverText(bytes: Uint8Array): string {
  const text = new TextDecoder().decode(bytes);
  return text.replace(/\p{Cc}+/gu, " ").replace(/[\s.]+$/u, "");
}

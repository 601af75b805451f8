/** The server's side of NBD for tests: bytes made by hand, apart from the code under test. */

import { concatBytes } from "../../src/bytes.ts";

export function be16(value: number): Uint8Array {
  const bytes = new Uint8Array(2);
  new DataView(bytes.buffer).setUint16(0, value);
  return bytes;
}

export function be32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
}

export function be64(value: number | bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value));
  return bytes;
}

export function ascii(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

export function simpleReply(cookie: number | bigint, errorCode = 0): Uint8Array {
  return concatBytes([be32(0x67446698), be32(errorCode), be64(cookie)]);
}

/** A chunk; `done` is its flag. */
export function chunk(
  cookie: number | bigint,
  type: number,
  payload: Uint8Array,
  done: boolean,
  lengthBytes: number = payload.length,
): Uint8Array {
  const flags = be16(done ? 1 : 0);
  return concatBytes([be32(0x668e33ef), flags, be16(type), be64(cookie), be32(lengthBytes), payload]);
}

export function noneChunk(cookie: number): Uint8Array {
  return chunk(cookie, 0, new Uint8Array(0), true);
}

export function dataChunk(
  cookie: number,
  offset: number | bigint,
  bytes: Uint8Array,
  done = false,
): Uint8Array {
  return chunk(cookie, 1, concatBytes([be64(offset), bytes]), done);
}

export function holeChunk(cookie: number, offset: number, lengthBytes: number, done = false): Uint8Array {
  return chunk(cookie, 2, concatBytes([be64(offset), be32(lengthBytes)]), done);
}

export function statusChunk(
  cookie: number,
  contextId: number,
  extents: readonly (readonly [lengthBytes: number, flags: number])[],
  done = false,
): Uint8Array {
  const list = extents.flatMap(([lengthBytes, flags]) => [be32(lengthBytes), be32(flags)]);
  return chunk(cookie, 5, concatBytes([be32(contextId), ...list]), done);
}

export function errorChunk(cookie: number, errorCode: number, text: string, done = true): Uint8Array {
  return chunk(cookie, 0x8001, errorPayload(errorCode, text), done);
}

export function errorOffsetChunk(
  cookie: number,
  errorCode: number,
  text: string,
  offset: number,
  done = true,
): Uint8Array {
  return chunk(cookie, 0x8002, concatBytes([errorPayload(errorCode, text), be64(offset)]), done);
}

export function errorPayload(errorCode: number, text: string): Uint8Array {
  const bytes = ascii(text);
  return concatBytes([be32(errorCode), be16(bytes.length), bytes]);
}

/** The greeting of a server that speaks the fixed newstyle. */
export const GREETING = concatBytes([ascii("NBDMAGICIHAVEOPT"), be16(3)]);

export const OptionCode = { structuredReply: 8, setMetaContext: 10, go: 7 } as const;

export function optionReply(option: number, type: number, data: Uint8Array = new Uint8Array(0)): Uint8Array {
  return concatBytes([be64(0x0003e889045565a9n), be32(option), be32(type), be32(data.length), data]);
}

export function ack(option: number): Uint8Array {
  return optionReply(option, 1);
}

/** What a server says to GO: flags are "has flags", flush, write zeroes, unless others are given. */
export function exportInfo(sizeBytes: number | bigint, flags = 0b100_0101): Uint8Array {
  return optionReply(OptionCode.go, 3, concatBytes([be16(0), be64(sizeBytes), be16(flags)]));
}

export function blockSizeInfo(minimum: number, preferred: number, maximum: number): Uint8Array {
  const data = concatBytes([be16(3), be32(minimum), be32(preferred), be32(maximum)]);
  return optionReply(OptionCode.go, 3, data);
}

export function contextReply(id: number, name: string): Uint8Array {
  return optionReply(OptionCode.setMetaContext, 4, concatBytes([be32(id), ascii(name)]));
}

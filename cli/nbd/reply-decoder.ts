/**
 * Push-fed decoder of what a server sends in NBD's transmission phase. It knows no sockets and no requests.
 *
 *     magic --simple--> simple --> magic
 *     magic --chunk---> header --> by type:
 *       NONE                                                      -> magic
 *       OFFSET_DATA   offset u64 | bytes                          -> magic
 *       OFFSET_HOLE   offset u64 | length u32                     -> magic
 *       BLOCK_STATUS  context id u32 | (length u32 | flags u32)+  -> magic
 *       ERROR*        error u32 | text length u16 | text | rest   -> magic   (rest of ERROR_OFFSET: offset u64)
 */

import { FormatError, type FormatErrorCode } from "../../src/errors.ts";
import {
  CHUNK_ERROR_BIT,
  CHUNK_FLAG_DONE,
  CHUNK_MAGIC,
  ChunkType,
  MAX_EXTENTS,
  MAX_PAYLOAD_BYTES,
  MAX_STRING_BYTES,
  SIMPLE_REPLY_MAGIC,
  serverText,
} from "./vocabulary.ts";

/** Something that a server said. Offsets are positions on the disk in bytes. */
export type ReplyEvent =
  /** A whole reply without content; `errorCode` 0 is success. */
  | { readonly kind: "simple"; readonly cookie: number; readonly errorCode: number }
  /** A piece of content. `bytes` are valid until the next event is asked for. */
  | { readonly kind: "data"; readonly cookie: number; readonly offset: number; readonly bytes: Uint8Array }
  | { readonly kind: "hole"; readonly cookie: number; readonly offset: number; readonly lengthBytes: number }
  /** The list of a context's extents begins. */
  | { readonly kind: "status"; readonly cookie: number; readonly contextId: number }
  /** The next extent of the list that began last. */
  | { readonly kind: "extent"; readonly cookie: number; readonly lengthBytes: number; readonly flags: number }
  | {
      readonly kind: "error";
      readonly cookie: number;
      readonly errorCode: number;
      readonly text: string;
      readonly offset: number | null;
    }
  /** The structured reply is complete. */
  | { readonly kind: "done"; readonly cookie: number };

/** States that wait for a field of a known length, and that length in bytes; `message` and `rest` tell theirs. */
const FIELD_BYTES = {
  magic: 4,
  simple: 12,
  header: 16,
  dataOffset: 8,
  hole: 12,
  context: 4,
  extent: 8,
  error: 6,
  message: 0,
  errorOffset: 8,
} as const;

type State = keyof typeof FIELD_BYTES | "data" | "rest";

/** Longest payload of an error chunk: a message and fields of kinds that we do not know. */
const MAX_ERROR_BYTES = 2 * MAX_STRING_BYTES;

/**
 * Decodes the replies of one connection. Its memory does not depend on what the server sends.
 *
 * @example
 * for (const event of decoder.push(chunk)) table.take(event);
 */
export class ReplyDecoder {
  #state: State = "magic";
  /** Bytes of the field that is awaited, and how many of them are in `#field`. */
  #wantedBytes: number = FIELD_BYTES.magic;
  #keptBytes = 0;
  readonly #field = new Uint8Array(MAX_STRING_BYTES);
  readonly #fieldView = new DataView(this.#field.buffer);
  /** Bytes of the current chunk's payload that have not been decoded. */
  #leftBytes = 0;
  #type = 0;
  #isLast = false;
  #cookie = 0;
  #offset = 0;
  #errorCode = 0;
  #text = "";
  /** Position in the stream of the pushed bytes. */
  #position = 0;
  #failure: unknown;

  /**
   * Takes the next bytes and yields what they say. It must be run to its end.
   * Throws `FormatError` when they do not follow the protocol; every later call throws the same error.
   */
  *push(chunk: Uint8Array): Generator<ReplyEvent, void, void> {
    if (this.#failure !== undefined) throw this.#failure;
    try {
      yield* this.#decode(chunk);
    } catch (error) {
      this.#failure = error;
      throw error;
    }
    this.#position += chunk.length;
  }

  *#decode(chunk: Uint8Array): Generator<ReplyEvent, void, void> {
    const view = new DataView(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    let at = 0;
    while (at < chunk.length) {
      if (this.#state === "data" || this.#state === "rest") {
        const bytes = chunk.subarray(at, at + Math.min(this.#leftBytes, chunk.length - at));
        at += bytes.length;
        yield* this.#pass(bytes);
      } else if (this.#keptBytes === 0 && chunk.length - at >= this.#wantedBytes) {
        const from = at;
        at += this.#wantedBytes;
        yield* this.#take(view, from, at);
      } else {
        const bytes = chunk.subarray(at, at + this.#wantedBytes - this.#keptBytes);
        this.#field.set(bytes, this.#keptBytes);
        this.#keptBytes += bytes.length;
        at += bytes.length;
        if (this.#keptBytes < this.#wantedBytes) return;
        this.#keptBytes = 0;
        yield* this.#take(this.#fieldView, 0, at);
      }
    }
  }

  /** Hands on content, or drops fields at the end of an error that we do not know. */
  *#pass(bytes: Uint8Array): Generator<ReplyEvent, void, void> {
    const offset = this.#offset;
    this.#offset += bytes.length;
    this.#leftBytes -= bytes.length;
    if (this.#state === "data") yield { kind: "data", cookie: this.#cookie, offset, bytes };
    if (this.#leftBytes === 0) yield* this.#endChunk();
  }

  /** Takes one whole field, which is at `from` in `view`; `at` is behind it in the pushed bytes. */
  *#take(view: DataView, from: number, at: number): Generator<ReplyEvent, void, void> {
    switch (this.#state) {
      case "magic": {
        const magic = view.getUint32(from);
        if (magic === SIMPLE_REPLY_MAGIC) this.#await("simple");
        else if (magic === CHUNK_MAGIC) this.#await("header");
        else throw this.#bad("bad-magic", `0x${magic.toString(16)} begins no reply`, at);
        return;
      }
      case "simple":
        yield { kind: "simple", cookie: u64(view, from + 4), errorCode: view.getUint32(from) };
        this.#await("magic");
        return;
      case "header":
        yield* this.#beginChunk(view, from, at);
        return;
      case "dataOffset":
        this.#leftBytes -= FIELD_BYTES.dataOffset;
        this.#offset = this.#offsetAt(view, from, at);
        this.#state = "data";
        return;
      case "hole": {
        const lengthBytes = view.getUint32(from + 8);
        if (lengthBytes === 0) throw this.#bad("bad-length", "a hole is empty", at);
        yield { kind: "hole", cookie: this.#cookie, offset: this.#offsetAt(view, from, at), lengthBytes };
        yield* this.#endChunk();
        return;
      }
      case "context":
        this.#leftBytes -= FIELD_BYTES.context;
        yield { kind: "status", cookie: this.#cookie, contextId: view.getUint32(from) };
        this.#await("extent");
        return;
      case "extent": {
        this.#leftBytes -= FIELD_BYTES.extent;
        const lengthBytes = view.getUint32(from);
        if (lengthBytes === 0) throw this.#bad("bad-length", "an extent is empty", at);
        yield { kind: "extent", cookie: this.#cookie, lengthBytes, flags: view.getUint32(from + 4) };
        if (this.#leftBytes === 0) yield* this.#endChunk();
        return;
      }
      case "error":
        yield* this.#beginError(view.getUint32(from), view.getUint16(from + 4), at);
        return;
      case "message":
        this.#leftBytes -= this.#wantedBytes;
        this.#text = serverText(new Uint8Array(view.buffer, view.byteOffset + from, this.#wantedBytes));
        yield* this.#endMessage(at);
        return;
      case "errorOffset":
        yield* this.#emitError(this.#offsetAt(view, from, at));
        yield* this.#endChunk();
    }
  }

  *#beginChunk(view: DataView, from: number, at: number): Generator<ReplyEvent, void, void> {
    this.#isLast = (view.getUint16(from) & CHUNK_FLAG_DONE) !== 0;
    this.#type = view.getUint16(from + 2);
    this.#cookie = u64(view, from + 4);
    this.#leftBytes = view.getUint32(from + 12);
    const check = (isRight: boolean) => {
      if (isRight) return;
      throw this.#bad("bad-length", `a chunk of type ${this.#type} has ${this.#leftBytes} bytes`, at);
    };
    switch (this.#type) {
      case ChunkType.none:
        check(this.#leftBytes === 0);
        if (!this.#isLast) throw this.#bad("bad-value", "a chunk of no content is not flagged as done", at);
        yield* this.#endChunk();
        return;
      case ChunkType.offsetData:
        check(this.#leftBytes > 8 && this.#leftBytes - 8 <= MAX_PAYLOAD_BYTES);
        this.#await("dataOffset");
        return;
      case ChunkType.offsetHole:
        check(this.#leftBytes === FIELD_BYTES.hole);
        this.#await("hole");
        return;
      case ChunkType.blockStatus: {
        const listBytes = this.#leftBytes - FIELD_BYTES.context;
        check(
          listBytes > 0 &&
            listBytes % FIELD_BYTES.extent === 0 &&
            listBytes <= MAX_EXTENTS * FIELD_BYTES.extent,
        );
        this.#await("context");
        return;
      }
      default:
        if ((this.#type & CHUNK_ERROR_BIT) === 0) {
          throw this.#bad("unsupported", `chunk type ${this.#type} is unknown`, at);
        }
        check(this.#leftBytes >= FIELD_BYTES.error && this.#leftBytes <= MAX_ERROR_BYTES);
        this.#await("error");
    }
  }

  *#beginError(errorCode: number, textBytes: number, at: number): Generator<ReplyEvent, void, void> {
    this.#leftBytes -= FIELD_BYTES.error;
    if (errorCode === 0) throw this.#bad("bad-value", "an error has the code 0", at);
    if (textBytes > MAX_STRING_BYTES || textBytes > this.#leftBytes) {
      throw this.#bad("bad-length", `an error has a text of ${textBytes} bytes`, at);
    }
    this.#errorCode = errorCode;
    this.#text = "";
    if (textBytes === 0) yield* this.#endMessage(at);
    else this.#await("message", textBytes);
  }

  *#endMessage(at: number): Generator<ReplyEvent, void, void> {
    if (this.#type === ChunkType.errorOffset) {
      if (this.#leftBytes !== FIELD_BYTES.errorOffset) {
        throw this.#bad("bad-length", "an error has no offset where it should", at);
      }
      this.#await("errorOffset");
      return;
    }
    yield* this.#emitError(null);
    this.#state = "rest";
    if (this.#leftBytes === 0) yield* this.#endChunk();
  }

  *#emitError(offset: number | null): Generator<ReplyEvent, void, void> {
    yield { kind: "error", cookie: this.#cookie, errorCode: this.#errorCode, text: this.#text, offset };
  }

  *#endChunk(): Generator<ReplyEvent, void, void> {
    this.#await("magic");
    if (this.#isLast) yield { kind: "done", cookie: this.#cookie };
  }

  #await(state: keyof typeof FIELD_BYTES, lengthBytes: number = FIELD_BYTES[state]): void {
    this.#state = state;
    this.#wantedBytes = lengthBytes;
  }

  #offsetAt(view: DataView, from: number, at: number): number {
    const offset = u64(view, from);
    if (offset > Number.MAX_SAFE_INTEGER) throw this.#bad("bad-value", "an offset is beyond every disk", at);
    return offset;
  }

  #bad(code: FormatErrorCode, what: string, at: number): FormatError {
    return new FormatError(code, `Cannot decode an NBD reply: ${what}`, this.#position + at);
  }
}

/** Not exact above 2^53, where no cookie and no offset of ours is. */
function u64(view: DataView, at: number): number {
  return view.getUint32(at) * 2 ** 32 + view.getUint32(at + 4);
}

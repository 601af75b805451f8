/** What the replies to each kind of request must contain, checked as it comes. */

import { FormatError } from "../../src/errors.ts";
import { Coverage } from "./coverage.ts";
import type { ReplyEvent } from "./reply-decoder.ts";

/**
 * Takes what a read gives, in any order. Offsets count from the start of the request. `bytes` are valid only
 * during the call: copy them. When a call throws, no more calls come, and the read rejects with that at its end.
 */
export interface ReadSink {
  data(offsetInRequest: number, bytes: Uint8Array): void;
  /** These bytes are zero. */
  hole(offsetInRequest: number, lengthBytes: number): void;
}

/** A run of bytes with equal flags; their meaning belongs to the context. */
export interface Extent {
  readonly lengthBytes: number;
  readonly flags: number;
}

/** Events that belong to the content of a reply. */
export type ContentEvent = Extract<ReplyEvent, { kind: "data" | "hole" | "status" | "extent" }>;

/** Collects the content of one reply. Both methods throw `FormatError` when it is not an answer to the request. */
export interface ReplyContent<T> {
  take(event: ContentEvent): void;
  /** Called when the reply was complete and had no error. */
  finish(): T;
}

/** Of requests that are only acknowledged. */
export function noContent(): ReplyContent<void> {
  return {
    take: (event) => {
      throw wrong("bad-value", `it has content of kind ${event.kind}`);
    },
    finish: () => {},
  };
}

/** Of a read of `lengthBytes` at `offset`. The sink must not throw. */
export function readContent(offset: number, lengthBytes: number, sink: ReadSink): ReplyContent<void> {
  const coverage = new Coverage(lengthBytes);
  const cover = (from: number, length: number, what: string) => {
    const problem = coverage.add(from, from + length);
    if (problem === null) return;
    throw wrong(
      "bad-value",
      `of ${what} of ${length} bytes at ${offset + from} in a read of ${lengthBytes} at ${offset}, ${problem}`,
    );
  };
  return {
    take: (event) => {
      if (event.kind === "data") {
        const from = event.offset - offset;
        cover(from, event.bytes.length, "data");
        sink.data(from, event.bytes);
      } else if (event.kind === "hole") {
        const from = event.offset - offset;
        cover(from, event.lengthBytes, "a hole");
        sink.hole(from, event.lengthBytes);
      } else {
        throw wrong("bad-value", "a read is answered with extents");
      }
    },
    finish: () => {
      if (!coverage.isWhole)
        throw wrong("truncated", `it does not cover the read of ${lengthBytes} at ${offset}`);
    },
  };
}

/**
 * Of a query of `lengthBytes`, which are followed by `restBytes` on the disk. Each context must be told once.
 * A server may answer for less. It may also let the last extent reach beyond the query, when it knows more than it
 * was asked: that is cut.
 */
export function statusContent(
  lengthBytes: number,
  restBytes: number,
  contexts: ReadonlyMap<number, string>,
): ReplyContent<Map<string, Extent[]>> {
  const found = new Map<string, Extent[]>();
  let list: Extent[] = [];
  let coveredBytes = 0;
  const begin = (contextId: number) => {
    const name = contexts.get(contextId);
    if (name === undefined) throw wrong("bad-value", `nobody asked for the context with the id ${contextId}`);
    if (found.has(name)) throw wrong("bad-value", `it has the context ${name} twice`);
    list = [];
    coveredBytes = 0;
    found.set(name, list);
  };
  const extend = (length: number, flags: number) => {
    if (coveredBytes >= lengthBytes) throw wrong("bad-length", "an extent begins behind the query");
    if (length > lengthBytes + restBytes - coveredBytes)
      throw wrong("bad-length", "an extent ends behind the disk");
    const insideBytes = Math.min(length, lengthBytes - coveredBytes);
    coveredBytes += insideBytes;
    const last = list.at(-1);
    if (last?.flags === flags) {
      list[list.length - 1] = { lengthBytes: last.lengthBytes + insideBytes, flags };
    } else {
      list.push({ lengthBytes: insideBytes, flags });
    }
  };
  return {
    take: (event) => {
      if (event.kind === "status") begin(event.contextId);
      else if (event.kind === "extent") extend(event.lengthBytes, event.flags);
      else throw wrong("bad-value", `a query is answered with content of kind ${event.kind}`);
    },
    finish: () => {
      for (const name of contexts.values()) {
        if (!found.has(name)) throw wrong("truncated", `it lacks the context ${name}`);
      }
      return found;
    },
  };
}

/** A sink that does not throw: it keeps what `sink` threw for `rethrow`, and calls it no more. */
export function guardSink(sink: ReadSink): { readonly sink: ReadSink; rethrow(): void } {
  let failure: { readonly error: unknown } | undefined;
  const guard = (work: () => void) => {
    if (failure !== undefined) return;
    try {
      work();
    } catch (error) {
      failure = { error };
    }
  };
  return {
    sink: {
      data: (at, bytes) => guard(() => sink.data(at, bytes)),
      hole: (at, lengthBytes) => guard(() => sink.hole(at, lengthBytes)),
    },
    rethrow: () => {
      if (failure !== undefined) throw failure.error;
    },
  };
}

/** Says what is wrong with a reply. */
export function wrong(code: FormatError["code"], what: string): FormatError {
  return new FormatError(code, `Cannot take an NBD reply: ${what}`);
}

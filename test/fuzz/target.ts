/** What a fuzz target is: one decoder with seeds, a mutator that knows its format, and what must hold. */

import type { Core } from "../../src/core.ts";
import type { Random } from "./random.ts";

/** One decoder of bytes from outside. */
export interface Target {
  readonly name: string;
  /** Valid inputs, made by our own encoders. */
  readonly seeds: readonly Uint8Array[];
  /** A mutant of `input`; `other` is another input that was kept, to take parts from. May return either unchanged. */
  mutate(input: Uint8Array, other: Uint8Array, random: Random): Uint8Array;
  /**
   * Decodes. Returns what the input turned out to be, as a short text: inputs with a text that was not seen before
   * are kept. Throws a documented error if the decoder refuses, `Violation` if a property does not hold.
   */
  run(input: Uint8Array): string | Promise<string>;
  /** Whether an error is one that the decoder may throw; FormatError and OperationError if this is not given. */
  isDocumented?(error: unknown): boolean;
  /** The core that the decoder works in: its memory may grow to `coreBytesMax` at most. */
  readonly core?: Core;
  readonly coreBytesMax?: number;
  /** Bytes that one input may take beside the core; `defaultInputMemoryBytes` if this is not given. */
  readonly inputMemoryBytes?: number;
}

/** Longest input, in bytes. */
export const maxInputBytes = 1 << 17;

/** Memory that one input may take: twice the longest columns that a frame can declare. */
export const defaultInputMemoryBytes = 1 << 26;

/** Something that must hold for every input did not. */
class Violation extends Error {
  override readonly name = "Violation";
}

/** Throws Violation unless `holds`. */
export function demand(holds: boolean, what: string): asserts holds {
  if (!holds) throw new Violation(what);
}

/** The power of two below a count: inputs that differ only in how often something is there are alike. */
export function bucket(count: number): number {
  return count <= 3 ? count : 2 + Math.floor(Math.log2(count));
}

export const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);
export const textOf = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

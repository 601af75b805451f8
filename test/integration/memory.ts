/** Dumps of guest memory. */

import type { Buffer } from "node:buffer";
import { counterAddress } from "../../cli/demo/guest.ts";

const PAGE = 4096;

/** Pages that differ, as a short text; empty if there are none. */
export function differences(one: Buffer, other: Buffer): string {
  if (one.length !== other.length) return `${one.length} bytes against ${other.length}`;
  const pages: number[] = [];
  for (let at = 0; at < one.length; at += PAGE) {
    if (one.compare(other, at, at + PAGE, at, at + PAGE) !== 0) pages.push(at / PAGE);
  }
  if (pages.length === 0) return "";
  return `${pages.length} pages differ: ${pages.slice(0, 20).join(", ")}`;
}

/** The tick counter in a dump. */
export function counterIn(memory: Buffer): number {
  return memory.readUInt32LE(counterAddress);
}

/** Commands between sections. Those of post-copy and COLO are refused by their names. */

import { FormatError } from "../errors.ts";
import { readBe16 } from "./big-endian.ts";
import { commandDataBytes, refusedCommandNames } from "./vocabulary.ts";

/** Type byte, command, length of the data. */
export const COMMAND_HEADER_BYTES = 5;

/**
 * Checks the command at `at`: `08 be16-command be16-length data`. Returns the position after it, or -1 if it
 * is not whole. `base` is the position of `bytes[0]` in the stream.
 */
export function decodeCommand(bytes: Uint8Array, at: number, end: number, base: number): number {
  if (end - at < COMMAND_HEADER_BYTES) return -1;
  const command = readBe16(bytes, at + 1);
  const length = readBe16(bytes, at + 3);
  const expected = commandDataBytes.get(command);
  if (expected === undefined) {
    const name = refusedCommandNames.get(command) ?? command;
    const message = `Cannot decode the QEMU stream: command ${name} is not supported`;
    throw new FormatError("unsupported", message, base + at);
  }
  if (length !== expected) {
    const message = `Cannot decode the QEMU stream: command ${command} has ${length} bytes in place of ${expected}`;
    throw new FormatError("bad-length", message, base + at + 3);
  }
  const next = at + COMMAND_HEADER_BYTES + length;
  return end < next ? -1 : next;
}

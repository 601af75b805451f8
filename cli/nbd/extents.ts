/** A walk over all extents of a context, whatever the size of the disk. */

import type { NbdClient } from "./client.ts";
import type { Extent } from "./reply-content.ts";

/** How much to ask for at once: about as much as a request can name. Servers bound the list in an answer. */
const QUERY_BYTES = 2 ** 32 - 2 ** 20;

/** An extent and where it is on the disk, in bytes. */
export interface PlacedExtent extends Extent {
  readonly offset: number;
}

/**
 * Yields the extents of `context` from `from` up to `to`, in order, without gaps; neighbours have different flags.
 * Only one answer of the server is held at a time. Throws what `NbdClient.blockStatus` throws, and `TypeError` when
 * the context was not granted.
 *
 * @example
 * for await (const { offset, lengthBytes, flags } of extents(client, "qemu:dirty-bitmap:g1")) {
 *   if (flags !== 0) console.log(`dirty: ${lengthBytes} bytes at ${offset}`);
 * }
 */
export async function* extents(
  client: Pick<NbdClient, "blockStatus" | "contexts" | "sizeBytes">,
  context: string,
  from = 0,
  to: number = client.sizeBytes,
): AsyncGenerator<PlacedExtent, void, void> {
  if (!client.contexts.includes(context)) {
    throw new TypeError(`Cannot walk over ${context}: the server did not grant this context`);
  }
  let current: { offset: number; lengthBytes: number; flags: number } | undefined;
  let at = from;
  while (at < to) {
    const answer = await client.blockStatus(at, Math.min(QUERY_BYTES, to - at));
    for (const { lengthBytes, flags } of answer.get(context) ?? []) {
      if (current?.flags === flags) {
        current.lengthBytes += lengthBytes;
      } else {
        if (current !== undefined) yield current;
        current = { offset: at, lengthBytes, flags };
      }
      at += lengthBytes;
    }
  }
  if (current !== undefined) yield current;
}

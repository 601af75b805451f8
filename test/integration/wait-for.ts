/** Waiting for what must come, whenever it comes. */

import { setTimeout as sleep } from "node:timers/promises";

const pollMs = 10;
/** Long enough for the slowest machine: only a test that fails waits so long. */
const giveUpMs = 60_000;

/** Looks again and again until `look` gives something. Rejects when that seems never to happen. */
export async function waitFor<T>(what: string, look: () => T | null | Promise<T | null>): Promise<T> {
  const deadline = Date.now() + giveUpMs;
  for (;;) {
    const found = await look();
    if (found !== null) return found;
    if (Date.now() > deadline) throw new Error(`Waited in vain: ${what}`);
    await sleep(pollMs);
  }
}

/** Where memory of the destination came to differ from the source's: on the way from QEMU to the store, or after it. */

import type { Buffer } from "node:buffer";
import { join } from "node:path";
import { guestName } from "../../cli/demo/testbed.ts";
import { GenerationContent } from "../../cli/store/generation-reader.ts";
import { VmStore } from "../../cli/store/vm-store.ts";
import { loadCore } from "../../src/core.ts";

const PAGE = 4096;
const mostPages = 4;

/** Memory of both sites while neither copy ran. */
export interface BothMemories {
  readonly source: Buffer;
  readonly destination: Buffer;
}

/**
 * Says of the first pages that differ what the new generation at the destination holds: if it has what the destination
 * has, the source's QEMU never sent what it has, or the sender left it out; else the destination's QEMU was not fed it.
 */
export async function describeStalePages(
  { source, destination }: BothMemories,
  storePath: string,
  generation: number,
): Promise<string[]> {
  const core = await loadCore();
  const store = new VmStore(core, storePath, guestName);
  const found = (await store.list()).generations.find(({ manifest }) => manifest.generation === generation);
  if (!found) return [`generation ${generation} is not in ${join(storePath, guestName)}`];
  const content = new GenerationContent(core, found);
  const target = core.allocate(PAGE);
  const said: string[] = [];
  try {
    for (let at = 0; at < source.length && said.length < mostPages; at += PAGE) {
      if (source.compare(destination, at, at + PAGE, at, at + PAGE) === 0) continue;
      content.readPages(at / PAGE, 1, target);
      const stored = core.bytes().subarray(target, target + PAGE);
      const isIn = (memory: Buffer) => memory.subarray(at, at + PAGE).equals(stored);
      const who = isIn(destination) ? "the destination" : isIn(source) ? "the source" : "neither";
      said.push(
        `page ${at / PAGE}: words ${wordsThatDiffer(source, destination, at)} differ; stored is what ${who} has`,
      );
    }
  } finally {
    content.close();
  }
  return said;
}

function wordsThatDiffer(one: Buffer, other: Buffer, page: number): string {
  const words: string[] = [];
  for (let at = page; at < page + PAGE; at += 4) {
    const [a, b] = [one.readUInt32LE(at), other.readUInt32LE(at)];
    if (a !== b) words.push(`${(at - page).toString(16)}: ${a.toString(16)}/${b.toString(16)}`);
  }
  return `${words.length} (${words.slice(0, 4).join(", ")})`;
}

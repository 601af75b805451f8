/** The RAM blocks of QEMU's stream as the regions of a generation. */

import { type Geometry, placeRegions, type Region } from "../../src/generation/geometry.ts";
import type { RamBlock } from "../../src/qemu-stream/vocabulary.ts";
import { OperationError } from "../errors.ts";

/**
 * The stream's blocks as regions, the main RAM first, and the region of each block. Throws OperationError if the main RAM
 * is not there as the definition says.
 */
export function arrangeBlocks(
  blocks: readonly RamBlock[],
  vm: { readonly ramBlock: string; readonly memoryBytes: number },
): { geometry: Geometry; regionOfBlock: number[] } {
  const main = blocks.find(({ id }) => id === vm.ramBlock);
  if (main === undefined || main.lengthBytes !== vm.memoryBytes) {
    throw new OperationError(
      "failed",
      `Cannot migrate: QEMU has no RAM block ${vm.ramBlock} of ${vm.memoryBytes} bytes, as the definition says; ` +
        `it has ${blocks.map(({ id, lengthBytes }) => `${id} (${lengthBytes})`).join(", ")}`,
    );
  }
  const ordered = [main, ...blocks.filter((block) => block !== main)];
  const regions: Region[] = ordered.map(({ id, lengthBytes }) => ({ name: id, kind: "ram", lengthBytes }));
  return { geometry: placeRegions(regions), regionOfBlock: blocks.map((block) => ordered.indexOf(block)) };
}

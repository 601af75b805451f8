/** The RAM blocks of a saved stream as regions of a generation: the main memory is the first. */

import type { Region } from "../../src/generation/geometry.ts";
import type { RamBlock } from "../../src/qemu-stream/index.ts";
import { ownRamBlock } from "../agent/vm-launch.ts";
import { OperationError } from "../errors.ts";

/** Regions, and the region of each block of the stream. */
export interface ArrangedBlocks {
  readonly regions: readonly Region[];
  readonly regionOfBlock: readonly number[];
}

/**
 * Arranges the blocks. The main memory is the block that this program's VMs have, or else the only one of the
 * definition's size. Throws OperationError if there is none.
 */
export function arrangeBlocks(
  blocks: readonly RamBlock[],
  vm: { readonly name: string; readonly memoryBytes: number },
): ArrangedBlocks {
  const fitting = blocks.filter(({ lengthBytes }) => lengthBytes === vm.memoryBytes);
  const main =
    fitting.find(({ id }) => id === ownRamBlock) ?? (fitting.length === 1 ? fitting[0] : undefined);
  if (main === undefined) {
    throw new OperationError(
      "failed",
      `Cannot import into ${vm.name}: the definition says ${vm.memoryBytes} bytes of memory, and the stream has no ` +
        `such RAM block; it has ${blocks.map(({ id, lengthBytes }) => `${id} (${lengthBytes})`).join(", ")}`,
    );
  }
  const ordered = [main, ...blocks.filter((block) => block !== main)];
  return {
    regions: ordered.map(({ id, lengthBytes }) => ({ name: id, kind: "ram", lengthBytes })),
    regionOfBlock: blocks.map((block) => ordered.indexOf(block)),
  };
}

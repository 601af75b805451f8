/** What a stream holds, collected in memory. */

import { QemuStreamDecoder, type RamBlock } from "../../src/qemu-stream/index.ts";

/** The last content of each page, and the other parts of a stream. */
export class Contents {
  machine = "";
  blocks: readonly RamBlock[] = [];
  /** By block, then by page; undefined is a zero page. */
  readonly pages: Map<number, Uint8Array | undefined>[] = [];
  deviceState = new Uint8Array(0);

  /** Throws FormatError if the chunks are no whole stream. */
  constructor(chunks: Iterable<Uint8Array>) {
    const decoder = new QemuStreamDecoder({
      machine: (name) => {
        this.machine = name;
      },
      ramBlocks: (blocks) => {
        this.blocks = blocks;
        for (const _ of blocks) this.pages.push(new Map());
      },
      page: (block, page, bytes, at) => this.pages[block].set(page, bytes.slice(at, at + 4096)),
      zeroPage: (block, page) => this.pages[block].set(page, undefined),
      deviceState: (tail) => {
        this.deviceState = tail.slice();
      },
    });
    for (const chunk of chunks) decoder.push(chunk);
    decoder.finish();
  }
}

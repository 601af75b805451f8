/** The window in the core's memory into which QEMU's stream is read and decoded in place. */

import type { Core } from "../../src/core.ts";
import { QemuStreamDecoder } from "../../src/qemu-stream/decoder.ts";
import type { StreamSink } from "../../src/qemu-stream/vocabulary.ts";

const windowBytes = 1 << 20;

/** Feeds chunks of the stream to a decoder whose pages then have addresses in the core's memory. */
export class StreamWindow {
  /** Bytes of the stream so far. */
  receivedBytes = 0;
  private decoder: QemuStreamDecoder;
  private readonly sink: StreamSink;
  private readonly core: Core;
  private readonly window: number;
  private filled = 0;

  constructor(core: Core, sink: StreamSink) {
    this.core = core;
    this.sink = sink;
    this.decoder = new QemuStreamDecoder(sink);
    this.window = core.allocate(windowBytes);
  }

  /** What comes next is the beginning of another stream. */
  restart(): void {
    this.decoder = new QemuStreamDecoder(this.sink);
    this.filled = 0;
  }

  /** Takes the next bytes. Throws FormatError if they do not follow the stream's format. */
  push(chunk: Uint8Array): void {
    this.receivedBytes += chunk.length;
    for (let at = 0; at < chunk.length; ) {
      const room = Math.min(windowBytes - this.filled, chunk.length - at);
      const memory = this.core.bytes();
      memory.set(chunk.subarray(at, at + room), this.window + this.filled);
      this.filled += room;
      at += room;
      this.decode();
    }
  }

  private decode(): void {
    const memory = this.core.bytes();
    const view = memory.subarray(this.window, this.window + this.filled);
    const used = this.decoder.consume(view, this.filled);
    if (this.core.bytes() !== memory) {
      throw new Error(
        "the core's memory grew while a page in it was looked at: give the leg's core more to begin with",
      );
    }
    this.filled -= used;
    if (used > 0 && this.filled > 0) {
      this.core.bytes().copyWithin(this.window, this.window + used, this.window + used + this.filled);
    }
  }
}

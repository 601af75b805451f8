/**
 * A running guest's disk, reached through its QEMU: written as the guest would write (`qemu-io` on the device), since
 * the boot-sector guest does no disk I/O, and read back over NBD.
 */

import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { OperationError } from "../errors.ts";
import { NbdClient } from "../nbd/client.ts";
import { extents } from "../nbd/extents.ts";
import { isRunning, type QmpClient } from "../qemu/qmp-client.ts";
import { blockBytes, type DemoDisk, type PlacedBytes } from "./demo-disk.ts";

/** Id of the device. */
export const diskName = "disk0";

/** Path of the device's backend in QEMU, as a definition with virtio-blk makes it. */
const backend = `/machine/peripheral/${diskName}/virtio-backend`;
const readBytes = 1 << 20;
const readsUnderWay = 4;
/** NBD: the range is not allocated and reads as zero. */
const holeFlags = 3;

/** What was written in the background. */
export interface Written {
  readonly bytes: number;
  /** Writes that were carried out, or answered, after the VM had stopped. */
  readonly lateWrites: number;
}

/** The disk at the site where the guest runs. Close it. */
export class GuestDisk {
  private readonly qmp: QmpClient;
  private readonly disk: DemoDisk;
  private readonly folder: string;

  /** `folder` is for a small file and a socket: its path must be short and have no spaces. */
  constructor(qmp: QmpClient, disk: DemoDisk, folder: string) {
    this.qmp = qmp;
    this.disk = disk;
    this.folder = folder;
  }

  /** Gives filled blocks new content. Throws OperationError. */
  async rewrite(indices: Iterable<number>, blocksPerWrite = 1): Promise<void> {
    for (const index of indices) {
      const change = this.disk.change(index, blocksPerWrite);
      await this.prepare(change);
      await this.write(change);
      change.done();
    }
  }

  /** Writes filled blocks again as they are, so that they count as written though nothing changed. */
  async touch(indices: Iterable<number>, blocksPerWrite = 1): Promise<void> {
    for (const index of indices) {
      const content = this.disk.contentOf(index, blocksPerWrite);
      await this.prepare(content);
      await this.write(content);
    }
  }

  /**
   * Gives filled blocks new content, `bytesPerSecond` in all, until `end` is called or the VM stands still. Unlike a
   * guest's, a write that is under way when the VM stops is carried out nevertheless: end it well before, or look
   * at `lateWrites`. Nobody may rely on the disk's content after one.
   */
  startWriting(bytesPerSecond: number, blocksPerWrite = 1): { end(): Promise<Written> } {
    let isWanted = true;
    let isStopped = false;
    const stopListening = this.qmp.onEvent(({ name }) => {
      if (name === "STOP") isStopped = true;
    });
    const indices = this.disk.spread(this.disk.filledBlocks / blocksPerWrite);
    const run = async () => {
      const startMs = performance.now();
      let bytes = 0;
      for (let i = 0; isWanted; i = (i + 7) % indices.length) {
        const aheadMs = (bytes / bytesPerSecond) * 1000 - (performance.now() - startMs);
        if (aheadMs > 0) await sleep(aheadMs);
        if (!isWanted) break;
        const index = indices[i];
        const change = this.disk.change(index - (index % blocksPerWrite), blocksPerWrite);
        await this.prepare(change);
        // Nothing comes between the answer and the write, so that the time for a stop between them is short.
        if (!(await isRunning(this.qmp))) break;
        await this.write(change);
        change.done();
        bytes += change.bytes.length;
        if (isStopped) return { bytes, lateWrites: 1 };
      }
      return { bytes, lateWrites: 0 };
    };
    const running = run().finally(stopListening);
    // Whoever ends it hears of a failure.
    running.catch(() => {});
    return {
      end: () => {
        isWanted = false;
        return running;
      },
    };
  }

  /** Compares every block with what must be there. Returns the bytes read. Throws OperationError at the first difference. */
  async compare(): Promise<number> {
    const socketPath = join(this.folder, "compare.sock");
    const node = await this.node();
    await this.qmp.execute("nbd-server-start", { addr: { type: "unix", data: { path: socketPath } } });
    try {
      await this.qmp.execute("block-export-add", {
        type: "nbd",
        id: "compare",
        "node-name": node,
        name: diskName,
      });
      const client = await NbdClient.connect({
        socketPath,
        exportName: diskName,
        contexts: ["base:allocation"],
      });
      try {
        return await this.compareExtents(client);
      } finally {
        await client.disconnect();
      }
    } finally {
      await this.qmp.execute("nbd-server-stop");
      await rm(socketPath, { force: true });
    }
  }

  /** Ends the connection to QEMU. */
  close(): void {
    this.qmp.close();
  }

  /** Makes ready what the next `write` writes. */
  private async prepare({ bytes }: PlacedBytes): Promise<void> {
    await writeFile(this.blockPath, bytes);
  }

  private async write({ offset, bytes }: PlacedBytes): Promise<void> {
    const answer = await this.qmp.execute<string>("human-monitor-command", {
      "command-line": `qemu-io -d ${backend} "write -q -s ${this.blockPath} ${offset} ${bytes.length}"`,
    });
    if (answer.trim() !== "") {
      throw new OperationError("failed", `Cannot write to the guest's disk: ${answer.trim()}`);
    }
  }

  private get blockPath(): string {
    return join(this.folder, "block.bin");
  }

  private async node(): Promise<string> {
    const blocks =
      await this.qmp.execute<{ qdev?: string; inserted?: { "node-name"?: string } }[]>("query-block");
    const found = blocks.find(({ qdev }) => qdev?.split("/").includes(diskName));
    const node = found?.inserted?.["node-name"];
    if (node === undefined) throw new OperationError("failed", `The guest's QEMU has no disk ${diskName}`);
    return node;
  }

  private async compareExtents(client: NbdClient): Promise<number> {
    if (client.sizeBytes !== this.disk.sizeBytes) {
      throw new OperationError(
        "verificationFailed",
        `The guest's disk has ${client.sizeBytes} bytes instead of ${this.disk.sizeBytes}`,
      );
    }
    let comparedBytes = 0;
    const underWay: Promise<void>[] = [];
    for await (const { offset, lengthBytes, flags } of extents(client, "base:allocation")) {
      const end = offset + lengthBytes;
      if ((flags & holeFlags) === holeFlags) {
        this.compareHole(Math.ceil(offset / blockBytes), Math.floor(end / blockBytes));
        continue;
      }
      const wholeEnd = Math.ceil(end / blockBytes) * blockBytes;
      for (let at = Math.floor(offset / blockBytes) * blockBytes; at < wholeEnd; at += readBytes) {
        const length = Math.min(readBytes, wholeEnd - at);
        comparedBytes += length;
        const comparing = this.compareRange(client, at, length);
        comparing.catch(() => {});
        underWay.push(comparing);
        if (underWay.length >= readsUnderWay) await underWay.shift();
      }
    }
    await Promise.all(underWay);
    return comparedBytes;
  }

  private compareHole(first: number, end: number): void {
    const place = this.disk.firstFilled(first, end);
    if (place !== null) differs(place, "it was not written");
  }

  private async compareRange(client: NbdClient, offset: number, lengthBytes: number): Promise<void> {
    const bytes = Buffer.alloc(lengthBytes);
    await client.read(offset, lengthBytes, {
      data: (at, chunk) => bytes.set(chunk, at),
      hole: (at, length) => bytes.fill(0, at, at + length),
    });
    for (let at = 0; at < lengthBytes; at += blockBytes) {
      const place = (offset + at) / blockBytes;
      const expected = this.disk.expected(place) ?? zeroes;
      if (Buffer.compare(bytes.subarray(at, at + blockBytes), expected) !== 0) {
        differs(place, "it does not hold what was written");
      }
    }
  }
}

const zeroes = new Uint8Array(blockBytes);

function differs(place: number, how: string): never {
  throw new OperationError("verificationFailed", `The guest's disk differs at block ${place}: ${how}`);
}

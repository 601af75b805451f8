/**
 * QEMU's own way with a disk, as part of the baseline: the destination exports its disk writable over NBD, and the
 * source mirrors everything to it and then every write, until the VM has stopped.
 */

import { setTimeout as sleep } from "node:timers/promises";
import { OperationError } from "../errors.ts";
import type { QmpClient } from "../qemu/qmp-client.ts";
import { freePorts } from "./free-ports.ts";
import type { PrecopyLink, PrecopyProgress } from "./precopy.ts";

/** How often QEMU is asked how far it is, in milliseconds. */
const pollMs = 100;
const jobId = "mirror";
const targetNode = "mirror-target";

/** One mirror. */
export interface DiskMirrorOptions {
  readonly source: QmpClient;
  /** A QEMU that waits for a migration and has the disk too, empty. */
  readonly destination: QmpClient;
  /** Name of the disk's node in both. */
  readonly node: string;
  readonly openLink: (host: string, port: number) => Promise<PrecopyLink>;
  readonly onProgress?: (progress: PrecopyProgress) => void;
  readonly signal?: AbortSignal;
}

/** What a mirror cost. */
export interface MirrorCost {
  /** Bytes that QEMU counted as copied, those of holes among them. */
  readonly diskBytes: number;
  /** Payload bytes over the link, both directions. */
  readonly wireBytes: number;
}

interface JobInfo {
  readonly device: string;
  readonly len: number;
  readonly offset: number;
  readonly ready: boolean;
  readonly "io-status"?: string;
}

/** A mirror that has copied everything once and goes on with what is written. Close it whatever happens. */
export class DiskMirror {
  private readonly options: DiskMirrorOptions;
  private readonly link: PrecopyLink;
  private diskBytes = 0;

  private constructor(options: DiskMirrorOptions, link: PrecopyLink) {
    this.options = options;
    this.link = link;
  }

  /** Copies everything once. Throws OperationError, or the signal's reason. */
  static async copy(options: DiskMirrorOptions): Promise<DiskMirror> {
    const { source, destination, node, signal } = options;
    signal?.throwIfAborted();
    const startMs = performance.now();
    const { host, port } = await exportDisk(destination, node);
    const link = await options.openLink(host, port);
    try {
      await source.execute("blockdev-add", {
        driver: "nbd",
        "node-name": targetNode,
        export: node,
        // With it QEMU may clear the whole target first and then copies only what is allocated.
        discard: "unmap",
        server: { type: "inet", host: link.host, port: String(link.port) },
      });
      await source.execute("blockdev-mirror", {
        "job-id": jobId,
        device: node,
        target: targetNode,
        sync: "full",
      });
      for (;;) {
        signal?.throwIfAborted();
        const job = await findJob(source);
        if (job.ready) return new DiskMirror(options, link);
        options.onProgress?.({
          elapsedMs: performance.now() - startMs,
          transferredBytes: job.offset,
          remainingBytes: job.len - job.offset,
          rounds: 1,
        });
        await sleep(pollMs);
      }
    } catch (error) {
      await cancelJob(source, link).catch(() => {});
      await link.close();
      throw error;
    }
  }

  /** The VM is stopped: copies the rest, and takes the destination's export back. */
  async finish(): Promise<void> {
    const { source, destination } = this.options;
    const completed = source.waitForEvent("BLOCK_JOB_COMPLETED", { where: ({ device }) => device === jobId });
    await source.execute("block-job-cancel", { device: jobId });
    const { data } = await completed;
    if (typeof data["error"] === "string") {
      throw new OperationError("failed", `QEMU's mirror failed: ${data["error"]}`);
    }
    this.diskBytes = Number(data["offset"]);
    await source.execute("blockdev-del", { "node-name": targetNode });
    await destination.execute("nbd-server-stop");
  }

  /** What it cost so far. */
  async cost(): Promise<MirrorCost> {
    const { aToB, bToA } = await this.link.stats();
    return { diskBytes: this.diskBytes, wireBytes: aToB + bToA };
  }

  /** Instead of `finish`, when the VM stays: ends the copying and the link. The destination is of no use any more. */
  async cancel(): Promise<void> {
    await cancelJob(this.options.source, this.link);
  }

  /** Ends the link. */
  async close(): Promise<void> {
    await this.link.close();
  }
}

/** Exports a node for writing on a port of the loopback interface. */
async function exportDisk(destination: QmpClient, node: string): Promise<{ host: string; port: number }> {
  const host = "127.0.0.1";
  // QEMU would not tell which port it got.
  const [port] = await freePorts(1);
  const data = { host, port: String(port) };
  await destination.execute("nbd-server-start", { addr: { type: "inet", data } });
  const name = node;
  await destination.execute("block-export-add", {
    type: "nbd",
    id: name,
    "node-name": node,
    name,
    writable: true,
  });
  return { host, port };
}

/** Ends the job, if there is one, and takes its target away, so that another mirror can be made. */
async function cancelJob(source: QmpClient, link: PrecopyLink): Promise<void> {
  const isThere = async () =>
    (await source.execute<JobInfo[]>("query-block-jobs")).some(({ device }) => device === jobId);
  if (await isThere()) await source.execute("block-job-cancel", { device: jobId, force: true });
  // Else QEMU would wait until what is under way has crossed the link.
  await link.close();
  while (await isThere()) await sleep(pollMs);
  await source.execute("blockdev-del", { "node-name": targetNode });
}

async function findJob(source: QmpClient): Promise<JobInfo> {
  const jobs = await source.execute<JobInfo[]>("query-block-jobs");
  const job = jobs.find(({ device }) => device === jobId);
  if (job === undefined || (job["io-status"] ?? "ok") !== "ok") {
    throw new OperationError(
      "failed",
      "QEMU's mirror failed: it lost the destination or cannot read the disk",
    );
  }
  return job;
}

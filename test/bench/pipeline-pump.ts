/** One leg's data path for benchmarks: the product's pump, store and window, with a peer that takes everything at once. */

import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { cpuUsage } from "node:process";
import type { CommonBase } from "../../cli/leg/common-base.ts";
import { legCoreBytes } from "../../cli/leg/leg-core.ts";
import type { StreamEnd } from "../../cli/leg/pump-options.ts";
import { SourcePump } from "../../cli/leg/source-pump.ts";
import type { GuestMapping } from "../../cli/leg/unwritten-pages.ts";
import { freeChunk } from "../../cli/qemu/chunk-memory.ts";
import type { OutgoingMigration } from "../../cli/qemu/outgoing-migration.ts";
import type { SafeHold } from "../../cli/qemu/safe-hold.ts";
import type { StoredGeneration } from "../../cli/store/generation-reader.ts";
import type { VmStore } from "../../cli/store/vm-store.ts";
import { loadCore } from "../../src/core.ts";
import type { RecordCounts } from "../../src/delta/vocabulary.ts";

/** A VM with its store and its digest key. */
export interface PumpedVm {
  readonly vm: string;
  readonly key: Uint8Array;
  readonly store: VmStore;
}

/** What a pass took. */
export interface Pass {
  /** From the first bytes to the last ones. */
  readonly wallSeconds: number;
  /** Of this process, the kernel's part for it included. */
  readonly cpuSeconds: number;
  readonly streamBytes: number;
  readonly frameBytes: number;
  readonly pages: RecordCounts;
  /** Pages that were not compared with the base. */
  readonly unwrittenPages: number;
}

/** A pump with its meter. */
export interface MeteredPump {
  readonly pump: SourcePump;
  readonly push: (chunk: Uint8Array) => void;
  /** What it took from the first chunk to `until`, by default the newest one, or to now for the CPU. */
  readonly pass: (until?: number) => Pass;
}

/** Makes a pump on `model`'s store whose frames go nowhere; `threads` encode beside this one. */
export async function meteredPump(
  model: PumpedVm,
  memoryBytes: number,
  base: CommonBase,
  mapping: GuestMapping | null = null,
  threads = 0,
): Promise<MeteredPump> {
  const core = await loadCore({ initialBytes: legCoreBytes });
  const generation = base.mode === "content" ? base.generation.manifest.generation + 1 : 1;
  const { vm, key, store } = model;
  const pump: SourcePump = new SourcePump({
    core,
    sink: {
      send: () => {},
      sendFrame: (_frame, sequence) => queueMicrotask(() => pump.acknowledged(sequence)),
    },
    key,
    base,
    mapping,
    ramBlock: "pc.ram",
    memoryBytes,
    target: { generationsPath: store.generationsPath, vm, generation, legId: `leg-${generation}` },
    hasDisks: false,
    threads: threads === 0 ? null : { count: threads, afterBytes: 1 << 20, onFailed: fail, warn: fail },
    onBaseDropped: (reason) => {
      throw new Error(`the benchmark's base was dropped: ${reason}`);
    },
  });
  let began = 0;
  let newest = 0;
  let atFirst = cpuUsage();
  const push = (chunk: Uint8Array) => {
    if (began === 0) {
      began = performance.now();
      atFirst = cpuUsage();
    }
    pump.push(chunk);
    newest = performance.now();
  };
  const pass = (until = newest): Pass => ({
    wallSeconds: (until - began) / 1e3,
    cpuSeconds: cpuSince(atFirst),
    streamBytes: pump.receivedBytes,
    frameBytes: pump.encoder.frameBytes,
    pages: { ...pump.encoder.counts },
    unwrittenPages: pump.unwrittenPages,
  });
  return { pump, push, pass };
}

function fail(what: unknown): never {
  throw new Error("the benchmark's threads have failed", { cause: what });
}

/** CPU seconds of this process since `before`. */
export function cpuSince(before: NodeJS.CpuUsage): number {
  const { user, system } = cpuUsage(before);
  return (user + system) / 1e6;
}

/** Puts what a pump has taken in force as a generation. */
export async function commitPass(
  model: PumpedVm,
  pump: SourcePump,
  end: StreamEnd,
): Promise<StoredGeneration> {
  const { writer, digests, machine } = pump;
  const start = {
    vm: model.vm,
    generation: writer.generation,
    epoch: writer.generation,
    from: "a",
    to: "b",
    createdAt: new Date().toISOString(),
    machine,
    accelerator: "tcg" as const,
  };
  const root = digests.root(end.digest);
  const parts = { digests: digests.digests, device: end, disks: [], root };
  const manifest = await writer.finish(start, parts);
  pump.release();
  return await writer.commit(manifest);
}

/**
 * Listens for one connection, as the product does for QEMU's, and hands its bytes to `push` until its end. A pump that is
 * given holds it while its threads have enough to do.
 */
export async function receiveStream(
  path: string,
  push: (chunk: Uint8Array) => void,
  pump: SourcePump | null = null,
): Promise<() => Promise<void>> {
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true });
  server.listen(path);
  await once(server, "listening");
  return async () => {
    const [socket] = (await once(server, "connection")) as [Socket];
    const hold = { hold: () => socket.pause(), release: () => socket.resume() };
    pump?.attach({} as OutgoingMigration, hold as unknown as SafeHold);
    socket.on("data", (chunk: Buffer) => {
      push(chunk);
      freeChunk(chunk);
    });
    socket.resume();
    await once(socket, "end");
    socket.destroy();
    server.close();
  };
}

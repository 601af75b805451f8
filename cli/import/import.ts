/** Makes a generation of a stream that QEMU saved to a file, with the store's own writer. No agent may have the store. */

import { randomUUID } from "node:crypto";
import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { setImmediate } from "node:timers/promises";
import type { Core } from "../../src/core.ts";
import type { Accelerator, Manifest } from "../../src/generation/manifest.ts";
import { messageOf, OperationError } from "../errors.ts";
import { namesIn } from "../store/folder.ts";
import { beginGeneration } from "../store/generation-writer.ts";
import { FileOwnershipRegister } from "../store/ownership.ts";
import { lockStore } from "../store/store-lock.ts";
import type { VmStore } from "../store/vm-store.ts";
import { checkTarget, ImportedVm, type ImportTarget } from "./imported-vm.ts";
import { type SavedState, SavedStream } from "./saved-stream.ts";

const windowBytes = 1 << 20;
/** What the manifest says in the place of both sites: the state came from no site. */
const importedFrom = "import";

/** What is imported. */
export interface ImportOptions extends ImportTarget {
  readonly filePath: string;
  /** What ran the VM when it was saved; null: as the stream and the definition tell. */
  readonly accelerator: Accelerator | null;
  readonly onProgress: (doneBytes: number, totalBytes: number) => void;
}

/**
 * Imports the stream as the VM's next generation, complete, and puts it in force. Ownership is not touched. Throws
 * OperationError, or FormatError if the file is no stream that can be taken; the store is then as it was.
 */
export async function importStream(core: Core, options: ImportOptions): Promise<Manifest> {
  checkTarget(options);
  const file = openStream(options.filePath);
  try {
    const lock = await lockStore(options.storePath);
    try {
      return await importLocked(core, file, options);
    } finally {
      lock.release();
    }
  } finally {
    closeSync(file.descriptor);
  }
}

interface StreamFile {
  readonly descriptor: number;
  readonly size: number;
}

async function importLocked(core: Core, file: StreamFile, options: ImportOptions): Promise<Manifest> {
  const { storePath, vm: name, onProgress } = options;
  const ownership = await new FileOwnershipRegister(storePath).read(name);
  const vm = await ImportedVm.find(core, options);
  let stream: SavedStream | null = null;
  try {
    await vm.store.prepare();
    const generation = Math.max(ownership.generation, await newestNumber(vm.store)) + 1;
    const target = { vm: name, generation, legId: `import-${randomUUID()}` };
    stream = new SavedStream({
      core,
      key: vm.key,
      vm: vm.definition,
      sizeBytes: file.size,
      begin: (geometry) => beginGeneration(core, vm.store.generationsPath, target, geometry, null),
    });
    const window = new Uint8Array(windowBytes);
    for (let at = 0; at < file.size; ) {
      const got = readSync(file.descriptor, window, 0, windowBytes, at);
      if (got === 0) break;
      stream.push(window.subarray(0, got));
      at += got;
      onProgress(at, file.size);
      // So that what was written is synced meanwhile.
      await setImmediate();
    }
    const state = stream.finish();
    const start = {
      vm: name,
      generation,
      epoch: Math.max(1, ownership.epoch),
      from: importedFrom,
      to: importedFrom,
      createdAt: new Date().toISOString(),
      machine: state.machine,
      accelerator: acceleratorOf(vm, state, options.accelerator),
    };
    const manifest = await state.writer.finish(start, state.parts);
    await vm.define();
    await state.writer.commit(manifest);
    return manifest;
  } catch (error) {
    await stream?.writer?.discard();
    await vm.forget();
    throw error;
  } finally {
    stream?.release();
  }
}

/** The highest number that a folder of generations has, whether it is usable or not. */
async function newestNumber(store: VmStore): Promise<number> {
  const numbers = (await namesIn(store.generationsPath)).filter((name) => /^[0-9]+$/.test(name)).map(Number);
  return Math.max(0, ...numbers);
}

/** A stream does not say what ran the VM, but device state of one accelerator does not fit another. */
function acceleratorOf(
  { definition }: ImportedVm,
  { devices }: SavedState,
  given: Accelerator | null,
): Accelerator {
  const { name, accel } = definition;
  // Only KVM has this device.
  const told = devices.includes("kvmclock") ? "kvm" : (given ?? (accel.length === 1 ? accel[0] : null));
  if (told === null) {
    throw new OperationError(
      "usage",
      `Cannot import into ${name}: the stream does not tell what ran the VM; say --accel kvm or --accel tcg`,
    );
  }
  if ((given !== null && given !== told) || !accel.includes(told)) {
    throw new OperationError(
      "failed",
      `Cannot import into ${name}: the stream is of a VM that ${told} ran, ` +
        (accel.includes(told) ? `not ${given}` : `the definition allows ${accel.join(", ")}`),
    );
  }
  return told;
}

function openStream(path: string): StreamFile {
  let descriptor: number;
  try {
    // O_NONBLOCK: opening a pipe must not wait for its other end.
    descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    throw new OperationError("usage", `Cannot import ${path}: ${messageOf(error)}`);
  }
  const stat = fstatSync(descriptor);
  if (stat.isFile()) return { descriptor, size: stat.size };
  closeSync(descriptor);
  throw new OperationError("usage", `Cannot import ${path}: it is not a regular file`);
}

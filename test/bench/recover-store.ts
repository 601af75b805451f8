/** A VM's store for the benchmark of `recover`: a real guest's generation, and a chain of deltas made above it. */

import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Agent } from "../../cli/agent/agent.ts";
import type { ManagedVm } from "../../cli/agent/managed-vm.ts";
import { launchFresh } from "../../cli/agent/vm-launch.ts";
import { parseDefinition } from "../../cli/config/vm-definition.ts";
import { bootImage, firstFilledPage } from "../../cli/demo/guest.ts";
import { GuestConsole } from "../../cli/demo/guest-console.ts";
import { guestArguments, guestMachine, safeMemoryBytes } from "../../cli/demo/testbed.ts";
import { SourceQemu } from "../../cli/leg/source-qemu.ts";
import {
  GenerationContent,
  readDeviceState,
  readDigests,
  type StoredGeneration,
} from "../../cli/store/generation-reader.ts";
import { beginGeneration } from "../../cli/store/generation-writer.ts";
import { IntegrityLedger } from "../../cli/store/integrity.ts";
import { type Core, loadCore } from "../../src/core.ts";
import { encodeDeviceFrames } from "../../src/delta/device-frames.ts";
import { FrameSequence } from "../../src/delta/frame-sequence.ts";
import { PageDecoder } from "../../src/delta/page-decoder.ts";
import { PageEncoder } from "../../src/delta/page-encoder.ts";
import { pageBytes } from "../../src/delta/vocabulary.ts";
import { digestBytes, PageDigests } from "../../src/generation/digest-tree.ts";
import { commitPass, meteredPump } from "./pipeline-pump.ts";

/** Guest memory with content; the rest of it is zero. */
export const filledBytes = 256 << 20;

/** Socket of the guest's serial port. */
export function consoleOf(folder: string): string {
  return join(folder, "tty.sock");
}

/** Defines a guest of about `wantedBytes` at the agent, boots it, and keeps its state as generation 1. */
export async function storeGuest(agent: Agent, folder: string, wantedBytes: number): Promise<ManagedVm> {
  const memoryBytes = await safeMemoryBytes(wantedBytes, agent.config.qemu.binary);
  const imagePath = join(folder, "guest.img");
  const guestOptions = { fillBytes: filledBytes, workingSetBytes: pageBytes, dirtyPagesPerTick: 0 };
  await writeFile(imagePath, bootImage(guestOptions));
  const args = JSON.stringify(guestArguments(imagePath, consoleOf(folder)));
  const definition = `{name: bench, memory: ${memoryBytes}, machine: ${guestMachine}, accel: [tcg], args: ${args}}`;
  const vm = await agent.define(parseDefinition(definition, "bench.yaml"));
  const process = await launchFresh(agent.config, vm);
  try {
    const guest = await GuestConsole.connect(consoleOf(folder), { timeoutMs: 300_000 });
    await guest.ready();
    guest.close();
    const key = (await agent.keys.read(vm.name)) as Uint8Array;
    const { pump, push } = await meteredPump({ vm: vm.name, key, store: vm.store }, memoryBytes, {
      mode: "nothing",
    });
    const source = new SourceQemu(process.qmp, vm.runPath, () => {}, console.error);
    const outgoing = await source.started;
    source.pumpInto(outgoing, Object.assign(Object.create(pump) as typeof pump, { push }));
    await outgoing.preSwitchover;
    pump.drain();
    await outgoing.continueSwitchover();
    await commitPass({ vm: vm.name, key, store: vm.store }, pump, await pump.ended);
    await outgoing.abort();
  } finally {
    await process.kill();
  }
  const record = await agent.ownership.read(vm.name);
  await agent.ownership.write({ ...record, state: "owned", epoch: 1, generation: 1 });
  await takeNote(vm);
  return vm;
}

/** Puts `deltas` generations above the newest one, each with `pages` other changed pages. */
export async function addDeltas(agent: Agent, vm: ManagedVm, deltas: number, pages: number): Promise<void> {
  const core = await loadCore({ initialBytes: 32 << 20 });
  for (let i = 0; i < deltas; i++) {
    const base = (await vm.store.list()).generations.at(-1) as StoredGeneration;
    await addDelta(core, (await agent.keys.read(vm.name)) as Uint8Array, vm, base, i * pages, pages);
  }
  await takeNote(vm);
}

/** The product records a generation as intact when a leg has written it. */
async function takeNote(vm: ManagedVm): Promise<void> {
  const newest = (await vm.store.list()).generations.at(-1) as StoredGeneration;
  await new IntegrityLedger(vm.store).record(newest);
}

/** One delta: `count` pages of the filled memory, from `first` on, get some new words; device state as before. */
async function addDelta(
  core: Core,
  key: Uint8Array,
  vm: ManagedVm,
  base: StoredGeneration,
  first: number,
  count: number,
): Promise<void> {
  const generation = base.manifest.generation + 1;
  const content = new GenerationContent(core, base);
  const { geometry } = content;
  const target = { vm: vm.name, generation, legId: `leg-${generation}` };
  const writer = beginGeneration(core, vm.store.generationsPath, target, geometry, base);
  const digests = new PageDigests(core, key, geometry, await readDigests(base));
  const readBasePage = (page: number, at: number) => content.readPages(page, 1, at);
  const decoder = new PageDecoder(core, geometry.regions, { readBasePage });
  const encoder = new PageEncoder(core);
  const sequence = new FrameSequence(2);
  const [page, before, digest] = [pageBytes, pageBytes, digestBytes].map((bytes) => core.allocate(bytes)) as [
    number,
    number,
    number,
  ];
  const seal = () => {
    const frame = encoder.seal(0, sequence.take());
    if (frame !== null) writer.apply(decoder.decode(frame), frame);
  };
  for (let i = 0; i < count; i++) {
    const number = firstFilledPage + ((first + i) % (filledBytes / pageBytes - 1));
    content.readPages(number, 1, before);
    core.raw.copy(page, before, pageBytes);
    new Uint32Array(core.bytes().buffer, page, pageBytes / 4)[(generation * 31) % 1024]! ^=
      0x5a5a_0000 | generation;
    core.raw.pageDigest(page, digests.keyPointer, digest);
    digests.set(0, number, core.bytes(), digest);
    encoder.content(number, page, before);
    if (encoder.full) seal();
  }
  seal();
  const state = await readDeviceState(core, base);
  const deviceDigest = core.blake3(state, key);
  const { records: _records, files: _files, format: _format, ...start } = base.manifest;
  const manifest = await writer.finish(
    { ...start, generation, epoch: generation, createdAt: new Date().toISOString() },
    {
      digests: digests.digests,
      device: {
        frames: encodeDeviceFrames(core, state, sequence.next),
        bytes: state.length,
        digest: deviceDigest,
      },
      disks: [],
      root: digests.root(deviceDigest),
    },
  );
  await writer.commit(manifest);
  content.close();
  digests.release();
  encoder.release();
  decoder.release();
  for (const pointer of [page, before, digest]) core.release(pointer);
}

/** Starting QEMU for a VM: afresh, waiting for a leg, or from a retained generation. */

import type { Core } from "../../src/core.ts";
import { placeRegions } from "../../src/generation/geometry.ts";
import type { Accelerator } from "../../src/generation/manifest.ts";
import type { SiteConfig } from "../config/site-config.ts";
import type { VmDefinition } from "../config/vm-definition.ts";
import type { ImageDescriptor } from "../disk/image-store.ts";
import { OperationError } from "../errors.ts";
import { IncomingFeed } from "../leg/incoming-feed.ts";
import {
  checkCpuModel,
  checkExtraArguments,
  checkMachineType,
  type DiskSpec,
  findImagePunchers,
  type GuestMemory,
  qemuArguments,
} from "../qemu/arguments.ts";
import { confinementOf } from "../qemu/confinement.ts";
import { checkSandboxedArguments } from "../qemu/confinement-arguments.ts";
import { type IncomingMigration, startIncoming } from "../qemu/incoming-migration.ts";
import { lostWriteRisk, probeQemu, usableAccelerators } from "../qemu/probe.ts";
import { launchQemu, type QemuProcess, qmpSocketPath } from "../qemu/process.ts";
import type { QmpClient } from "../qemu/qmp-client.ts";
import { qemuSocketPath } from "../qemu/unix-socket.ts";
import {
  GenerationContent,
  imagePathOf,
  readDeviceState,
  type StoredGeneration,
} from "../store/generation-reader.ts";
import type { ManagedVm } from "./managed-vm.ts";
import { checkVmReach, confineVm } from "./vm-confinement.ts";
import { currentChains, diskSpecs, prepareDisks } from "./vm-disks.ts";

/** Name of the main RAM block of VMs that this program starts. */
export const ownRamBlock = "pc.ram";

/** Throws OperationError unless the definition can run here, and come back here, safely. */
export async function checkDefinition(
  config: Pick<SiteConfig, "qemu">,
  definition: VmDefinition,
): Promise<void> {
  checkMachineType(definition.machine);
  checkCpuModel(definition.cpu);
  const args = [...config.qemu.args, ...definition.args];
  checkExtraArguments(args);
  if ((await confinementOf(config.qemu)).sandboxed) checkSandboxedArguments(args);
  const probe = await probeQemu(config.qemu.binary);
  if (probe.memoryBackendRom) return;
  const [punching] = findImagePunchers(args);
  if (punching === undefined) return;
  throw new OperationError(
    "refused",
    `Cannot use ${definition.name}: ${punching} lets the guest punch holes into the retained RAM image, and ` +
      `${probe.versionText} cannot map it read-only; remove the device or use QEMU 10.0 or later`,
  );
}

/** Starts the VM's QEMU afresh, with empty memory. It runs at once. */
export async function launchFresh(config: SiteConfig, vm: ManagedVm): Promise<QemuProcess> {
  const accel = await usableAccelerators(vm.definition.accel);
  await prepareDisks(config, vm);
  const disks = diskSpecs(vm, await currentChains(vm));
  return await launch(config, vm, { kind: "ram" }, { incoming: false, ramBlock: ownRamBlock, accel, disks });
}

/** Starts a QEMU that maps an image privately and waits, paused, for a stream. `chains`: disk images, newest first. */
export async function launchOnImage(
  config: SiteConfig,
  vm: ManagedVm,
  imagePath: string,
  state: {
    readonly ramBlock: string;
    readonly accelerator: Accelerator;
    readonly chains: readonly (readonly ImageDescriptor[])[];
  },
): Promise<QemuProcess> {
  const { ramBlock, accelerator } = state;
  const disks = diskSpecs(vm, state.chains);
  const accel = await usableAccelerators([accelerator]);
  const { memoryBackendRom } = await probeQemu(config.qemu.binary);
  const memory: GuestMemory = { kind: "image", path: imagePath, rom: memoryBackendRom };
  return await launch(config, vm, memory, { incoming: true, ramBlock, accel, disks });
}

/**
 * Starts a QEMU with the state of a generation, paused: mapped image, pages above it, device state; `overlays` are
 * the images, over the generation's, that it writes to. What it is to be fed is read while it starts.
 */
export async function launchFromGeneration(
  core: Core,
  config: SiteConfig,
  vm: ManagedVm,
  generation: StoredGeneration,
  overlays: Readonly<Record<string, string>>,
): Promise<QemuProcess> {
  const geometry = placeRegions(generation.manifest.regions);
  const { accelerator } = generation.manifest;
  const { images } = vm.store;
  const chains: ImageDescriptor[][] = [];
  for (const { id } of vm.definition.disks) {
    const overlay = overlays[id];
    if (overlay === undefined) {
      const { generation: number } = generation.manifest;
      throw new OperationError("failed", `Cannot use disk ${id}: generation ${number} was made without it`);
    }
    chains.push(await images.chain(overlay));
  }
  const state = { ramBlock: geometry.regions[0].name, accelerator, chains };
  const launching = launchOnImage(config, vm, imagePathOf(generation), state);
  const loading = launching.then((process) => {
    const socketPath = qemuSocketPath(vm.runPath, "in.sock");
    const takesDisks = vm.definition.disks.length > 0;
    return startIncoming(process.qmp, { socketPath, logTail: process.logTail, takesDisks });
  });
  try {
    await loadGeneration(core, generation, loading);
    return await launching;
  } catch (error) {
    // A launch that failed is the reason, whatever it has kept from being fed.
    const process = await launching;
    await process.kill();
    throw error;
  }
}

/** Feeds a QEMU that may still be on its way. Resolves when it has loaded everything. */
async function loadGeneration(
  core: Core,
  generation: StoredGeneration,
  loading: Promise<IncomingMigration>,
): Promise<void> {
  loading.then(({ completed }) => completed.catch(() => {})).catch(() => {});
  const content = new GenerationContent(core, generation);
  try {
    const device = await readDeviceState(core, generation);
    const { machine } = generation.manifest;
    const feed = new IncomingFeed(core, content.geometry, loading, { machine, mapsFirstRegion: false });
    await feed.feedSmallRegions(content);
    await feed.feedPagesAboveImage(content);
    await feed.finish(device);
    await (await loading).completed;
  } finally {
    content.close();
  }
}

/** What really runs a VM: a QEMU that was given several accelerators has chosen one. */
export async function acceleratorOf(qmp: QmpClient): Promise<Accelerator> {
  return (await qmp.execute<{ enabled: boolean }>("query-kvm")).enabled ? "kvm" : "tcg";
}

/** Why this QEMU may lose guest writes in a migration; null if it does not. Asks what really accelerates it. */
export async function lostWriteWarning(qmp: QmpClient, definition: VmDefinition): Promise<string | null> {
  const accel = await acceleratorOf(qmp);
  return lostWriteRisk({ version: qmp.version, accel, memoryBytes: definition.memoryBytes });
}

async function launch(
  config: SiteConfig,
  vm: ManagedVm,
  memory: GuestMemory,
  mode: {
    readonly incoming: boolean;
    readonly ramBlock: string;
    readonly accel: readonly string[];
    readonly disks: readonly DiskSpec[];
  },
): Promise<QemuProcess> {
  const { definition, runPath, name } = vm;
  await checkDefinition(config, definition);
  const args = qemuArguments({
    name,
    machine: definition.machine,
    cpu: definition.cpu,
    accel: mode.accel,
    memoryBytes: definition.memoryBytes,
    memory,
    ramBlockId: mode.ramBlock,
    qmpPath: qmpSocketPath(runPath),
    disks: mode.disks,
    incoming: mode.incoming,
    paused: mode.incoming,
    extra: [...config.qemu.args, ...definition.args],
  });
  const { path } = await probeQemu(config.qemu.binary);
  const ramImage = memory.kind === "image" ? memory.path : null;
  const confinement = await confineVm(config, vm, ramImage);
  // Without `rom` QEMU opens the file for writing, though it maps it privately.
  const needed = memory.kind === "image" ? { path: memory.path, writable: !memory.rom } : null;
  await checkVmReach(confinement, mode.disks, needed);
  return await launchQemu(path, args, { runDir: runPath, name, confinement });
}

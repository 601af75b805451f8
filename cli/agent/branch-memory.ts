/**
 * A state of a stopped VM, taken as a leg takes it, that goes nowhere but into the store: complete by itself, with
 * digests of memory and disks, so that it can be verified and restarted like a generation.
 */

import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { loadCore } from "../../src/core.ts";
import type { Manifest } from "../../src/generation/manifest.ts";
import { messageOf, OperationError } from "../errors.ts";
import type { CommonBase } from "../leg/common-base.ts";
import { legCoreBytes } from "../leg/leg-core.ts";
import { diskSocketPath, removeLegRemains } from "../leg/leg-remains.ts";
import type { LegSink } from "../leg/leg-sink.ts";
import { type LegDisk, SourceDisks } from "../leg/source-disks.ts";
import { SourcePump } from "../leg/source-pump.ts";
import { SourceQemu } from "../leg/source-qemu.ts";
import { endLeftMigration } from "../qemu/outgoing-migration.ts";
import type { QmpClient } from "../qemu/qmp-client.ts";
import type { FenceMarker } from "../store/fence-marker.ts";
import { readDigests } from "../store/generation-reader.ts";
import type { Agent } from "./agent.ts";
import { completeFrozenImages } from "./frozen-disks.ts";
import type { ManagedVm } from "./managed-vm.ts";
import { legDisks } from "./vm-disks.ts";
import { acceleratorOf, ownRamBlock } from "./vm-launch.ts";

/** What is told to QEMU: the VM stands still, so it may end its pass at once. */
const openDowntimeLimitMs = 60_000;
const pollMs = 50;
/** Nothing read from QEMU for so long: it hangs. */
const silenceMs = 60_000;
const completionMs = 10_000;

/** Writes the state under the marker's name and returns its manifest. Throws OperationError; then nothing is left. */
export async function keepMemory(
  agent: Agent,
  vm: ManagedVm,
  qmp: QmpClient,
  marker: FenceMarker,
): Promise<Manifest> {
  const { store, runPath } = vm;
  await endLeftMigration(qmp);
  await removeLegRemains(qmp, runPath);
  const key = await agent.keys.readOrMake(vm.name);
  const accelerator = await acceleratorOf(qmp);
  const leg = new LocalLeg();
  const warn = (message: string) => agent.log.warn({ vm: vm.name }, message);
  const core = await loadCore({ initialBytes: legCoreBytes });
  const legId = randomUUID();
  const { generations } = await store.list();
  const newest = generations.at(-1)?.manifest.generation ?? 0;
  const generation = Math.max(newest, marker.generation) + 1;
  await completeFrozenImages(agent, vm);
  const moving = await legDisks(vm, qmp);
  const sink: LegSink = {
    send: () => {},
    // There is no peer that could be slower than the disk.
    sendFrame: (_frame, sequence) => pump.acknowledged(sequence),
  };
  const pump: SourcePump = new SourcePump({
    core,
    sink,
    key,
    base: { mode: "nothing" },
    mapping: null,
    ramBlock: ownRamBlock,
    memoryBytes: vm.definition.memoryBytes,
    hasDisks: moving.length > 0,
    target: { generationsPath: store.branches.path, vm: vm.name, generation, legId },
    threads: null,
    onBaseDropped: () => {},
  });
  const qemu = new SourceQemu(qmp, runPath, (why) => leg.fail(`QEMU ended the migration: ${why}`), warn);
  let disks: SourceDisks | null = null;
  try {
    leg.watch(() => `${pump.receivedBytes} ${disks?.unreadBytes} ${disks?.totals.changedBytes}`);
    const outgoing = await leg.race(qemu.started);
    qemu.pumpInto(outgoing, pump);
    await leg.race(pump.established);
    if (moving.length > 0) {
      disks = await SourceDisks.begin({
        core,
        key,
        qmp,
        store,
        legId,
        disks: moving,
        base: await diskBase(vm, moving),
        firstRegion: pump.geometry.regions.length,
        socketPath: diskSocketPath(runPath),
        sequence: pump.sequence,
        sink: (frame, sequence, kinds) => pump.sendDiskFrame(frame, sequence, kinds),
        room: () => pump.room(),
        warn,
      });
      disks.startRound((error) => leg.fail(messageOf(error)));
      while (!disks.isBulkDone) await leg.race(sleep(pollMs));
    }
    pump.holdRam(false);
    await leg.race(outgoing.setDowntimeLimit(openDowntimeLimitMs));
    await leg.race(outgoing.preSwitchover);
    pump.drain();
    if (disks) await leg.race(disks.finish());
    await leg.race(outgoing.continueSwitchover());
    const stream = await leg.race(pump.ended);
    const root = pump.digests.root(stream.digest, disks?.tops());
    const sealed = (await disks?.seal()) ?? [];
    const { site } = agent.config;
    const manifest = await pump.writer.finish(
      {
        vm: vm.name,
        generation,
        epoch: marker.epoch,
        from: site,
        to: site,
        createdAt: marker.startedAt,
        machine: pump.machine,
        accelerator,
      },
      { digests: pump.digests.digests, device: stream, disks: sealed, root },
    );
    await store.branches.takeMemory(pump.writer.directory, marker.branch);
    // QEMU ends in order then. If it does not, nothing depends on it.
    outgoing.answerShut(0);
    await Promise.race([outgoing.completed, sleep(completionMs)]).catch(() => {});
    return manifest;
  } catch (error) {
    await qemu.giveUp(false);
    if (pump.isEstablished) await pump.writer.discard();
    throw error;
  } finally {
    leg.end();
    await disks?.release();
    pump.release();
  }
}

/** What the disks are compared with: only what changed since the generation that they stand on is read, if it is here. */
async function diskBase(vm: ManagedVm, disks: readonly LegDisk[]): Promise<CommonBase> {
  const { generations } = await vm.store.list();
  const under = generations.findLast(({ manifest }) =>
    disks.every(
      ({ name, image }) => manifest.disks.find((disk) => disk.name === name)?.image === image.backing,
    ),
  );
  if (under === undefined) return { mode: "nothing" };
  return { mode: "content", generation: under, digests: await readDigests(under) };
}

/** Ends the waits of a local leg when it fails or hangs. */
class LocalLeg {
  private readonly failing: Promise<never>;
  private reject: (error: Error) => void = () => {};
  private timer: NodeJS.Timeout | null = null;

  constructor() {
    this.failing = new Promise((_resolve, reject) => {
      this.reject = reject;
    });
    this.failing.catch(() => {});
  }

  race<T>(promise: Promise<T>): Promise<T> {
    return Promise.race([promise, this.failing]);
  }

  fail(why: string): void {
    this.reject(new OperationError("failed", why));
  }

  /** Fails when `progress` says the same for too long. */
  watch(progress: () => string): void {
    let last = progress();
    this.timer = setInterval(() => {
      const now = progress();
      if (now === last) this.fail("QEMU fell silent");
      last = now;
    }, silenceMs).unref();
  }

  end(): void {
    if (this.timer) clearInterval(this.timer);
  }
}

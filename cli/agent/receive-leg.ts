/** A leg into this site, from the peer's word to what follows when the VM runs here, or its copy is kept. */

import { fromHex } from "../../src/bytes.ts";
import { loadCore } from "../../src/core.ts";
import type { VmDefinition } from "../config/vm-definition.ts";
import { defaultGranularityBytes } from "../disk/dirty-bitmaps.ts";
import { messageOf, OperationError } from "../errors.ts";
import type { DestinationLegContext } from "../leg/destination-context.ts";
import { DestinationCopy } from "../leg/destination-copy.ts";
import { DestinationLeg } from "../leg/destination-leg.ts";
import { receiveHolders } from "../leg/holders-exchange.ts";
import { killQemu } from "../qemu/process.ts";
import type { StoredGeneration } from "../store/generation-reader.ts";
import type { OwnershipRecord } from "../store/ownership.ts";
import type { PeerConnection } from "../wan/connection.ts";
import type { LegPurpose, MessageOf } from "../wan/messages.ts";
import type { Agent } from "./agent.ts";
import { checkArrival } from "./arrival-check.ts";
import { isFencingOpen } from "./fencing.ts";
import { tidyGenerations, tidyIfOverdue } from "./housekeeping.ts";
import { copyArrival, loadedState, type ManagedVm } from "./managed-vm.ts";
import { keepStanding } from "./standing.ts";
import { startBlockHost } from "./vm-confinement.ts";
import { checkDefinition, launchOnImage } from "./vm-launch.ts";
import { warmUp } from "./warm-up.ts";

/** After the VM runs here, how long its source may stay away before it is not waited for any more. */
const confirmedTimeoutMs = 20_000;

/**
 * Receives a leg that begins on the connection; it may end on another one. Throws OperationError when the VM does not
 * come to run here.
 */
export async function receiveLeg(
  agent: Agent,
  connection: PeerConnection,
  prepare: MessageOf<"prepare">,
): Promise<void> {
  const cannotBegin = agent.arrivals.announce(connection.site, prepare);
  try {
    await receive(agent, connection, prepare);
  } finally {
    cannotBegin();
  }
}

async function receive(
  agent: Agent,
  connection: PeerConnection,
  prepare: MessageOf<"prepare">,
): Promise<void> {
  const { config, ownership, keys, log, arrivals } = agent;
  await arrivals.supersede(connection.site, prepare);
  const definition = arrivingDefinition(agent, prepare);
  await checkArrival(config, agent.find(definition.name), prepare.vm);
  await checkDefinition(config, definition);
  const known = await ownership.read(prepare.vm.name);
  checkOwnership(agent, connection.site, prepare, known);
  const key = fromHex(prepare.key);
  await keys.accept(prepare.vm.name, key);
  const isNew = agent.find(definition.name) === null;
  const vm = await agent.save(definition);
  let end: (failure: string | null) => void = () => {};
  const isCopy = prepare.purpose !== "handover";
  const received = vm.doing(isCopy ? copyArrival : "receive", async (activity) => {
    checkOwnership(agent, connection.site, prepare, await ownership.read(vm.name));
    if (vm.qemu) throw new OperationError("refused", `Cannot take ${vm.name}: it runs here`);
    if (await isFencingOpen(vm)) {
      throw new OperationError(
        "refused",
        `Cannot take ${vm.name}: what was fenced here is not put aside so far`,
      );
    }
    await killQemu(vm.runPath);
    await vm.store.prepare();
    await vm.store.sweep();
    await noteOwner(agent, vm, prepare, connection.site);
    await tidyIfOverdue(agent, vm, activity.cancel.signal);
    const context: DestinationLegContext = {
      site: config.site,
      connection,
      prepare,
      store: vm.store,
      ownership,
      key,
      runPath: vm.runPath,
      disks: vm.definition.disks.map(({ id, granularityBytes }, i) => ({
        name: id,
        granularityBytes,
        lengthBytes: prepare.vm.disks[i].lengthBytes,
      })),
      startBlockHost: () => startBlockHost(config, vm),
      launch: (imagePath, chains) =>
        launchOnImage(config, vm, imagePath, {
          ramBlock: prepare.ramBlock,
          accelerator: prepare.vm.accelerator,
          chains,
        }),
      exclusively: (action) => vm.exclusively(action),
      onState: (state) => {
        activity.state = state;
        log.info({ vm: vm.name, from: connection.site, state }, "leg");
      },
      warn: (message) => log.warn({ vm: vm.name }, message),
    };
    const leg = isCopy ? new DestinationCopy(context) : new DestinationLeg(context);
    if (isCopy) endWith(activity.cancel.signal, leg, prepare.purpose);
    end = arrivals.add(connection.site, prepare, leg);
    const { process, generation } = await leg.run();
    if (process) {
      const loaded = loadedState(agent, vm, generation);
      const onEnd = () => log.warn({ vm: vm.name }, "its QEMU has ended");
      vm.adopt({ kind: "process", process, qmp: process.qmp, loaded }, onEnd);
    }
    return { generation, leg };
  });
  try {
    const { generation, leg } = await received;
    await afterArrival(agent, vm, leg, generation, key);
    leg.endLink();
    end(null);
  } catch (error) {
    if (isNew) {
      await agent
        .forget(vm)
        .catch((problem) =>
          log.warn({ vm: vm.name, reason: messageOf(problem) }, "what the leg has left stays"),
        );
    }
    // Whatever happened before: a leg that follows waits for this.
    end(messageOf(error));
    throw error;
  }
}

/** A copy is nothing that this site cannot do without: whoever needs the VM here ends its arrival. */
function endWith(signal: AbortSignal, leg: DestinationLeg, purpose: LegPurpose): void {
  const onAbort = () =>
    leg.cancel(new OperationError("failed", `The ${purpose} is over: its arrival was cancelled`));
  if (signal.aborted) onAbort();
  signal.addEventListener("abort", onAbort);
}

/** From now on it is known here, whatever becomes of the leg, that another site has the VM: it must not be started anew. */
async function noteOwner(
  agent: Agent,
  vm: ManagedVm,
  prepare: MessageOf<"prepare">,
  peer: string,
): Promise<void> {
  await vm.exclusively(async () => {
    const record = await agent.ownership.read(vm.name);
    // In a handover the epoch is the one that begins with it.
    const current = prepare.purpose === "handover" ? prepare.epoch - 1 : prepare.epoch;
    const isNews = prepare.purpose !== "handover" && record.state === "away" && current > record.epoch;
    if (record.state !== "none" && !isNews) return;
    const epoch = Math.max(record.epoch, current);
    await agent.ownership.write({ ...record, state: "away", epoch, peer });
  });
}

/** The VM runs here, or its copy is kept: what follows. */
async function afterArrival(
  agent: Agent,
  vm: ManagedVm,
  leg: DestinationLeg,
  generation: StoredGeneration,
  key: Uint8Array,
): Promise<void> {
  const { config, log } = agent;
  const { qemu } = vm;
  const warm = qemu ? warmUp(vm, qemu.qmp) : Promise.resolve();
  agent.background("Warming up memory", () => warm);
  // Where the link is lost nobody waits for it but this.
  const connection = await leg.handOut(confirmedTimeoutMs);
  // A leg onwards that is asked for at once waits for this: it may be what makes it a return leg.
  await vm
    .keepHouse(async () => {
      const core = await loadCore();
      const { store } = vm;
      if (connection === null) throw new OperationError("failed", "the link is lost");
      await receiveHolders({ core, connection, store, ownSite: config.site, key, current: generation });
    })
    .catch((error) =>
      log.warn({ vm: vm.name, reason: messageOf(error) }, "what other sites hold stays unknown"),
    );
  agent.background("Tidying generations", async () => {
    try {
      await tidyGenerations(agent, vm);
    } finally {
      await warm.catch(() => {});
      if (vm.qemu === qemu) keepStanding(agent, vm);
    }
  });
}

/** What comes from the peer is only the machine's shape; arguments are this site's own. */
function arrivingDefinition(agent: Agent, { vm: given }: MessageOf<"prepare">): VmDefinition {
  const known: ManagedVm | null = agent.find(given.name);
  if (known && known.definition.memoryBytes !== given.memoryBytes) {
    throw new OperationError(
      "refused",
      `Cannot take ${given.name}: it is defined here with ${known.definition.memoryBytes} bytes of memory, not ${given.memoryBytes}`,
    );
  }
  const own = agent.config.arrivals[given.name];
  const args = own?.args ?? known?.definition.args ?? [];
  const tracking = own?.tracking ?? known?.definition.tracking ?? "scan";
  const { accelerator, disks, ...shape } = given;
  const ownDisks = disks.map(({ name, lengthBytes, bus }) => {
    const before = known?.definition.disks.find(({ id }) => id === name);
    const granularityBytes = before?.granularityBytes ?? defaultGranularityBytes;
    const ownFields = {
      file: before?.file ?? null,
      format: before?.format ?? null,
      cache: before?.cache ?? "writeback",
    };
    return { ...ownFields, id: name, bus, sizeBytes: lengthBytes, granularityBytes } as const;
  });
  return { ...shape, accel: known?.definition.accel ?? [accelerator], args, tracking, disks: ownDisks };
}

function checkOwnership(
  agent: Agent,
  peer: string,
  prepare: MessageOf<"prepare">,
  record: OwnershipRecord,
): void {
  const { name } = prepare.vm;
  const isOwnEpoch = prepare.purpose !== "handover" && prepare.epoch === record.epoch;
  if (isOwnEpoch && record.state === "away" && record.peer !== peer) {
    throw new OperationError("refused", `Cannot take ${name}: ${record.peer} has it, not ${peer}`);
  }
  if (record.state === "owned" || record.state === "released") {
    throw new OperationError(
      "refused",
      `Cannot take ${name}: site ${agent.config.site} owns it itself (${record.state})`,
    );
  }
  // A handover begins an epoch, a copy is made in that of the VM's owner.
  const isOld = prepare.purpose === "handover" ? prepare.epoch <= record.epoch : prepare.epoch < record.epoch;
  if (isOld || prepare.epoch <= record.refusedEpoch) {
    throw new OperationError(
      "refused",
      `Cannot take ${name}: epoch ${prepare.epoch} is older than what is known here`,
    );
  }
}

/** What authenticated peers may ask of this site. */

import { fromHex } from "../../src/bytes.ts";
import { loadCore } from "../../src/core.ts";
import type { VmDefinition } from "../config/vm-definition.ts";
import { BlockHost } from "../disk/block-host.ts";
import { defaultGranularityBytes } from "../disk/dirty-bitmaps.ts";
import { messageOf, OperationError } from "../errors.ts";
import { DestinationLeg } from "../leg/destination-leg.ts";
import { receiveHolders } from "../leg/holders-exchange.ts";
import { killQemu } from "../qemu/process.ts";
import { type PeerConnection, protocolError } from "../wan/connection.ts";
import type { MessageOf } from "../wan/messages.ts";
import type { Agent } from "./agent.ts";
import { tidyGenerations } from "./housekeeping.ts";
import type { ManagedVm } from "./managed-vm.ts";
import { answerSettle } from "./settle.ts";
import { checkDefinition, launchOnImage } from "./vm-launch.ts";
import { warmUp } from "./warm-up.ts";

/** Serves one connection to its end. Never rejects: failures are logged and told to the peer. */
export async function servePeer(agent: Agent, connection: PeerConnection): Promise<void> {
  // A peer keeps a connection ready: its request may come much later, or never.
  const incoming = await connection.next(null).catch(() => null);
  if (incoming === null) return;
  try {
    const message = "message" in incoming ? incoming.message : null;
    if (message?.type === "prepare") await receiveLeg(agent, connection, message);
    else if (message?.type === "settle") await answerSettle(agent, connection, message);
    else throw protocolError(connection.site, "it asks for nothing that this site knows");
  } catch (error) {
    const reason = error instanceof OperationError && error.reason === "refused" ? "refused" : "failed";
    agent.log.warn({ peer: connection.site, reason: messageOf(error) }, "a peer's request ended");
    connection.send({ type: "abort", reason, message: messageOf(error).slice(0, 1000) });
  } finally {
    connection.close();
  }
}

async function receiveLeg(
  agent: Agent,
  connection: PeerConnection,
  prepare: MessageOf<"prepare">,
): Promise<void> {
  const { config, ownership, keys, log } = agent;
  const definition = arrivingDefinition(agent, prepare);
  await checkDefinition(config, definition);
  const known = await ownership.read(prepare.vm.name);
  checkOwnership(agent, prepare, known);
  const key = fromHex(prepare.key);
  await keys.accept(prepare.vm.name, key);
  const isNew = agent.find(definition.name) === null;
  const vm = await agent.save(definition);
  const generation = await vm.doing("receive", async (activity) => {
    checkOwnership(agent, prepare, await ownership.read(vm.name));
    if (vm.qemu) throw new OperationError("refused", `Cannot take ${vm.name}: it runs here`);
    await killQemu(vm.runPath);
    await vm.store.prepare();
    await vm.store.sweep();
    const leg = new DestinationLeg({
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
      startBlockHost: () => BlockHost.start(config.qemu.binary, vm.runPath),
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
    });
    const { process, generation } = await leg.run().catch(async (error) => {
      if (isNew) await agent.forget(vm);
      throw error;
    });
    vm.adopt({ kind: "process", process, qmp: process.qmp }, () =>
      log.warn({ vm: vm.name }, "its QEMU has ended"),
    );
    return generation;
  });
  const { qemu } = vm;
  if (qemu) agent.background("Warming up memory", () => warmUp(vm, qemu.qmp));
  // A leg onwards that is asked for at once waits for this: it may be what makes it a return leg.
  await vm
    .keepHouse(async () => {
      const core = await loadCore();
      const { store } = vm;
      await receiveHolders({ core, connection, store, ownSite: config.site, key, current: generation });
    })
    .catch((error) =>
      log.warn({ vm: vm.name, reason: messageOf(error) }, "what other sites hold stays unknown"),
    );
  agent.background("Tidying generations", () => tidyGenerations(agent, vm));
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
  const args = agent.config.arrivals[given.name]?.args ?? known?.definition.args ?? [];
  const { accelerator, disks, ...shape } = given;
  const ownDisks = disks.map(({ name, lengthBytes, bus }) => {
    const before = known?.definition.disks.find(({ id }) => id === name);
    const granularityBytes = before?.granularityBytes ?? defaultGranularityBytes;
    const own = {
      file: before?.file ?? null,
      format: before?.format ?? null,
      cache: before?.cache ?? "writeback",
    };
    return { ...own, id: name, bus, sizeBytes: lengthBytes, granularityBytes } as const;
  });
  return { ...shape, accel: known?.definition.accel ?? [accelerator], args, disks: ownDisks };
}

function checkOwnership(
  agent: Agent,
  prepare: MessageOf<"prepare">,
  record: { readonly state: string; readonly epoch: number; readonly refusedEpoch: number },
): void {
  const { name } = prepare.vm;
  if (record.state === "owned" || record.state === "released") {
    throw new OperationError(
      "refused",
      `Cannot take ${name}: site ${agent.config.site} owns it itself (${record.state})`,
    );
  }
  if (prepare.epoch <= record.epoch || prepare.epoch <= record.refusedEpoch) {
    throw new OperationError(
      "refused",
      `Cannot take ${name}: epoch ${prepare.epoch} is older than what is known here`,
    );
  }
}

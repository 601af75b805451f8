/** The demo's guest in a QEMU that maps a generation's image, as at a destination and after `recover`, without an agent. */

import { join } from "node:path";
import { guestArguments } from "../../cli/demo/testbed.ts";
import { IncomingFeed } from "../../cli/leg/incoming-feed.ts";
import { qemuArguments } from "../../cli/qemu/arguments.ts";
import { startIncoming } from "../../cli/qemu/incoming-migration.ts";
import { probeQemu } from "../../cli/qemu/probe.ts";
import { launchQemu, type QemuProcess, qmpSocketPath } from "../../cli/qemu/process.ts";
import { qemuSocketPath } from "../../cli/qemu/unix-socket.ts";
import {
  GenerationContent,
  imagePathOf,
  readDeviceState,
  type StoredGeneration,
} from "../../cli/store/generation-reader.ts";
import { testMachine, testQemu } from "../qemu/test-qemu.ts";
import type { ModelStore } from "../store/model-store.ts";

/** Where the guest's console is. */
export function consolePath(folder: string): string {
  return join(folder, "tty.sock");
}

/** A QEMU that boots the guest, or waits for the state of a generation. */
export async function launchGuest(
  folder: string,
  memoryBytes: number,
  imagePath: string,
  generation: StoredGeneration | null,
): Promise<QemuProcess> {
  const { memoryBackendRom } = await probeQemu(testQemu);
  const args = qemuArguments({
    name: "guest",
    machine: testMachine,
    cpu: "qemu64",
    accel: ["tcg"],
    memoryBytes,
    memory: generation
      ? { kind: "image", path: imagePathOf(generation), rom: memoryBackendRom }
      : { kind: "ram" },
    qmpPath: qmpSocketPath(folder),
    incoming: generation !== null,
    paused: generation !== null,
    extra: guestArguments(imagePath, consolePath(folder)),
  });
  return await launchQemu(testQemu, args, { runDir: folder, name: "guest" });
}

/** Gives a waiting QEMU what its mapped image lacks, and lets it run. */
export async function loadGuest(
  { core }: ModelStore,
  qemu: QemuProcess,
  generation: StoredGeneration,
): Promise<void> {
  const incoming = startIncoming(qemu.qmp, {
    socketPath: qemuSocketPath(qemu.runDir, "in.sock"),
    logTail: qemu.logTail,
  });
  const content = new GenerationContent(core, generation);
  const { machine } = generation.manifest;
  const feed = new IncomingFeed(core, content.geometry, incoming, { machine, mapsFirstRegion: false });
  await feed.feedSmallRegions(content);
  await feed.feedPagesAboveImage(content);
  await feed.finish(await readDeviceState(core, generation));
  await (await incoming).completed;
  content.close();
  await qemu.qmp.execute("cont");
}

/** The data path fed by a real QEMU with the demo's guest, which keeps still while it is read. */

import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { bootImage, firstFilledPage } from "../../cli/demo/guest.ts";
import { GuestConsole } from "../../cli/demo/guest-console.ts";
import { safeMemoryBytes } from "../../cli/demo/testbed.ts";
import type { CommonBase } from "../../cli/leg/common-base.ts";
import { SourceQemu } from "../../cli/leg/source-qemu.ts";
import { type GuestMapping, openGuestMapping } from "../../cli/leg/unwritten-pages.ts";
import type { QemuProcess } from "../../cli/qemu/process.ts";
import { readDigests, type StoredGeneration } from "../../cli/store/generation-reader.ts";
import { consolePath, launchGuest, loadGuest } from "../leg/mapped-guest.ts";
import { testQemu } from "../qemu/test-qemu.ts";
import { ModelStore } from "../store/model-store.ts";
import { commitPass, meteredPump, type Pass } from "./pipeline-pump.ts";

const pageBytes = 4096;
/** Of the guest's pages one in so many is changed between the legs. */
const dirtyEvery = 50;

/** What the legs took, from QEMU's first bytes until it has nothing more to send. */
export interface QemuPasses {
  readonly memoryBytes: number;
  readonly first: Pass;
  /** Every page is read from the base and compared. */
  readonly compared: Pass;
  /** As in the product: pages that the guest has not written to are not. */
  readonly return: Pass;
}

/**
 * Runs a guest of about `wantedBytes` and reads it into a store in `folder`; then runs what was stored, as a destination does,
 * and reads that, `runs` times in both ways by turns. The runs with the least CPU count.
 */
export async function measureQemu(
  folder: string,
  wantedBytes: number,
  runs: number,
  say: (step: string) => void,
): Promise<QemuPasses> {
  const memoryBytes = await safeMemoryBytes(wantedBytes, testQemu);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const imagePath = join(folder, "guest.img");
  const fillBytes = Math.floor((memoryBytes * 5) / 6 / pageBytes) * pageBytes;
  await writeFile(imagePath, bootImage({ fillBytes, workingSetBytes: pageBytes, dirtyPagesPerTick: 0 }));
  const model = await ModelStore.create(folder, "bench");
  const base = await firstLeg(model, folder, memoryBytes, imagePath, say);
  const qemu = await launchGuest(folder, memoryBytes, imagePath, base.generation);
  try {
    await loadGuest(model, qemu, base.generation);
    const guest = await GuestConsole.connect(consolePath(folder), { timeoutMs: 300_000 });
    await guest.increment(firstFilledPage, Math.floor(memoryBytes / pageBytes / dirtyEvery));
    guest.close();
    const passes: { compared: Pass[]; return: Pass[] } = { compared: [], return: [] };
    for (let run = 0; run < runs; run++) {
      for (const how of ["compared", "return"] as const) {
        say(how === "return" ? "its return leg" : "the same, with every page compared");
        const mapping =
          how === "return" ? await openGuestMapping({ ...qemu, loaded: null }, base, memoryBytes) : null;
        passes[how].push((await leg(model, qemu, memoryBytes, base, mapping)).pass);
      }
    }
    const best = (some: readonly Pass[]) =>
      some.reduce((one, other) => (other.cpuSeconds < one.cpuSeconds ? other : one));
    return { memoryBytes, first: base.pass, compared: best(passes.compared), return: best(passes.return) };
  } finally {
    await qemu.kill();
  }
}

async function firstLeg(
  model: ModelStore,
  folder: string,
  memoryBytes: number,
  imagePath: string,
  say: (step: string) => void,
) {
  const qemu = await launchGuest(folder, memoryBytes, imagePath, null);
  try {
    const guest = await GuestConsole.connect(consolePath(folder), { timeoutMs: 300_000 });
    await guest.ready();
    guest.close();
    say("its first leg");
    const { pass, commit } = await leg(model, qemu, memoryBytes, { mode: "nothing" }, null);
    const generation = await commit();
    return { mode: "content", generation, digests: await readDigests(generation), pass } as const;
  } finally {
    await qemu.kill();
  }
}

/** One migration into the pump, which ends as failed: the VM runs on. Afterwards it may be committed, or is forgotten. */
async function leg(
  model: ModelStore,
  { qmp, runDir }: QemuProcess,
  memoryBytes: number,
  base: CommonBase,
  mapping: GuestMapping | null,
): Promise<{ pass: Pass; commit: () => Promise<StoredGeneration> }> {
  const { pump, push, pass } = await meteredPump(model, memoryBytes, base, mapping);
  const source = new SourceQemu(qmp, runDir, () => {}, say);
  const outgoing = await source.started;
  // The pump's own way in, with the meter before it.
  const metered = new Proxy(pump, {
    get: (target, name) => (name === "push" ? push : Reflect.get(target, name, target)),
  });
  source.pumpInto(outgoing, metered);
  await outgoing.preSwitchover;
  const result = pass();
  pump.drain();
  await outgoing.continueSwitchover();
  const end = await pump.ended;
  await outgoing.abort();
  if (base.mode === "nothing") return { pass: result, commit: () => commitPass(model, pump, end) };
  pump.release();
  await pump.writer.discard();
  return { pass: result, commit: () => Promise.reject(new Error("it was forgotten")) };
}

function say(problem: string): void {
  process.stderr.write(`${problem}\n`);
}

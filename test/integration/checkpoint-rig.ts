/** What tests of checkpoints and seeds do and look at. */

import type { Test } from "tap";
import type { CopyDone } from "../../cli/agent/copy.ts";
import type { ControlLine } from "../../cli/control-client.ts";
import { guestName, type TestbedOptions } from "../../cli/demo/testbed.ts";
import type { OperationError } from "../../cli/errors.ts";
import { GenerationContent } from "../../cli/store/generation-reader.ts";
import { VmStore } from "../../cli/store/vm-store.ts";
import { loadCore } from "../../src/core.ts";
import { type HaltFile, isHalted } from "../faults/halt-file.ts";
import type { TestDisk } from "./disk-files.ts";
import { DiskRig } from "./disk-rig.ts";
import type { Rig } from "./rig.ts";
import { waitFor } from "./wait-for.ts";

const PAGE = 4096;
const runPages = 256;

/** How a checkpoint is asked for, where not as usual. */
export interface CheckpointOptions {
  /** Long, since the machine that runs this may be slow. */
  readonly downtimeLimitMs?: number;
  readonly linkTimeoutMs?: number;
  readonly bitsPerSecond?: number;
  readonly repeated?: boolean;
  readonly timeoutMs?: number;
  /** False for a seed. */
  readonly checkpoint?: boolean;
  readonly onLine?: (line: ControlLine) => void;
}

/** How a checkpoint ended. */
export type CheckpointEnd =
  | { readonly done: CopyDone; readonly error: null }
  | { readonly done: null; readonly error: OperationError };

/** Asks for one. */
export async function checkpoint(
  rig: Rig,
  from: string,
  to: string,
  options: CheckpointOptions = {},
): Promise<CopyDone> {
  const { downtimeLimitMs = 1000, timeoutMs = null, bitsPerSecond = null } = options;
  const { linkTimeoutMs, repeated, checkpoint } = options;
  const body = {
    vm: guestName,
    to,
    downtimeLimitMs,
    timeoutMs,
    linkTimeoutMs,
    bitsPerSecond,
    repeated,
    checkpoint,
  };
  return (await rig.site(from).ask("sync", body, options.onLine)) as unknown as CopyDone;
}

/** Asks for a seed. */
export function seed(rig: Rig, from: string, to: string, options: CheckpointOptions = {}): Promise<CopyDone> {
  return checkpoint(rig, from, to, { ...options, checkpoint: false });
}

/** The same for one that may fail. */
export function beginCheckpoint(
  rig: Rig,
  from: string,
  to: string,
  options: CheckpointOptions = {},
): Promise<CheckpointEnd> {
  return checkpoint(rig, from, to, options).then(
    (done) => ({ done, error: null }),
    (error) => ({ done: null, error }),
  );
}

/** A rig with disks whose agents halt where a step is named. */
export async function haltingRig(
  t: Test,
  disks: readonly TestDisk[],
  changes: Partial<TestbedOptions> = {},
): Promise<{ readonly disks: DiskRig; readonly halts: HaltFile }> {
  const rig = await DiskRig.boot(t, disks, changes);
  return { disks: rig, halts: rig.rig.halts };
}

/** Waits until a site's agent stands still at the step that was set, unless `end` comes first. */
export async function untilHalted(rig: Rig, site: string, end: Promise<unknown>): Promise<void> {
  let isOver = false;
  end.then(
    () => {
      isOver = true;
    },
    () => {},
  );
  await waitFor(`the agent of ${site} halts`, async () => {
    if (isOver) throw new Error(`the checkpoint ended before: ${JSON.stringify(await end)}`);
    return isHalted(rig.site(site).pid) || null;
  });
}

/** A checkpoint at whose pause memory and disks were looked at. */
export interface ComparedCheckpoint {
  readonly done: CopyDone;
  /** Guest memory in the pause. */
  readonly memory: Buffer;
  /** What the disks had in the pause. */
  readonly twins: ReadonlyMap<string, string>;
}

/** Makes one; the agent stands still in the pause while it is looked at. */
export async function comparedCheckpoint(
  { disks, halts }: { readonly disks: DiskRig; readonly halts: HaltFile },
  from: string,
  to: string,
  options: CheckpointOptions = {},
): Promise<ComparedCheckpoint> {
  const { rig } = disks;
  await halts.set("source:stream-ended");
  const end = beginCheckpoint(rig, from, to, options);
  await untilHalted(rig, from, end);
  let looked: Omit<ComparedCheckpoint, "done">;
  try {
    if (await rig.runsAt(from)) throw new Error("the VM runs in the pause");
    looked = { memory: await rig.dump(from), twins: await disks.keepTwins() };
  } finally {
    process.kill(rig.site(from).pid, "SIGCONT");
  }
  const { done, error } = await end;
  if (error) throw error;
  return { done, ...looked };
}

/** The window of a PC's video memory, which lies over RAM: a dump by address has other bytes there than RAM has. */
const videoWindow = [0xa0000, 0xc0000] as const;

/** A copy of guest memory without what is not RAM in a dump by address. */
export function ramOnly(memory: Buffer): Buffer {
  const copy = Buffer.from(memory);
  copy.fill(0, ...videoWindow);
  return copy;
}

/** The main memory of a retained generation, read through the store alone. */
export async function generationMemory(rig: Rig, site: string, generation: number): Promise<Buffer> {
  return await waitFor(`generation ${generation} at ${site}`, () =>
    readMemory(rig, site, generation).catch((error) => {
      // The site has compacted it meanwhile.
      if (error.code === "ENOENT") return null;
      throw error;
    }),
  );
}

async function readMemory(rig: Rig, site: string, generation: number): Promise<Buffer> {
  const core = await loadCore();
  const store = new VmStore(core, rig.site(site).storePath, guestName);
  const found = (await store.list()).generations.find(({ manifest }) => manifest.generation === generation);
  if (!found) throw new Error(`${site} has no generation ${generation}`);
  const content = new GenerationContent(core, found);
  const [main] = content.geometry.regions;
  const memory = Buffer.alloc(main.lengthBytes);
  const window = core.allocate(runPages * PAGE);
  for (let page = 0; page * PAGE < memory.length; page += runPages) {
    const count = Math.min(runPages, memory.length / PAGE - page);
    content.readPages(page, count, window);
    memory.set(core.bytes().subarray(window, window + count * PAGE), page * PAGE);
  }
  content.close();
  return memory;
}

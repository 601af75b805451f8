/** Real QEMUs whose guests write all the time: no page may be taken for the base's that is not. */

import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import t from "tap";
import { bootImage, firstFilledPage } from "../../cli/demo/guest.ts";
import { GuestConsole } from "../../cli/demo/guest-console.ts";
import { loadLegCore } from "../../cli/leg/leg-core.ts";
import { SourcePump } from "../../cli/leg/source-pump.ts";
import { SourceQemu } from "../../cli/leg/source-qemu.ts";
import { StreamWindow } from "../../cli/leg/stream-window.ts";
import { loadedGeneration, openGuestMapping, unwrittenPages } from "../../cli/leg/unwritten-pages.ts";
import { startOutgoing } from "../../cli/qemu/outgoing-migration.ts";
import type { QemuProcess } from "../../cli/qemu/process.ts";
import { compact } from "../../cli/store/compaction.ts";
import {
  GenerationContent,
  imagePathOf,
  readDigests,
  type StoredGeneration,
} from "../../cli/store/generation-reader.ts";
import type { RamBlock } from "../../src/qemu-stream/vocabulary.ts";
import { commitPass } from "../bench/pipeline-pump.ts";
import { launchTestQemu, MEMORY_BYTES, type Teardown, temporaryFolder } from "../qemu/qemu-fixture.ts";
import { ModelStore, page } from "../store/model-store.ts";
import { consolePath, launchGuest, loadGuest } from "./mapped-guest.ts";

const isPossible = process.platform === "linux" && process.arch === "x64";
const needsLinux = isPossible ? {} : { skip: "only Linux tells which pages were written to" };
const MIB = 1 << 20;
const fillBytes = 32 * MIB;
const fillPages = fillBytes / page;
/** Device memory that `pmemsave` reads instead of RAM. */
const holeFirst = 0xa0;
const holeEnd = 0x100;

/** A guest's store and the QEMU that runs it now. */
class Guest {
  readonly folder: string;
  readonly model: ModelStore;
  private readonly bootPath: string;
  private process: QemuProcess | null = null;
  private legs = 0;

  private constructor(folder: string, model: ModelStore, bootPath: string) {
    this.folder = folder;
    this.model = model;
    this.bootPath = bootPath;
  }

  /** Boots a guest that dirties 4 MiB again and again, and stores its state as generation 1. */
  static async boot(
    test: Teardown & Tap,
    { dirtyPagesPerTick = 20 } = {},
  ): Promise<{ guest: Guest; first: StoredGeneration }> {
    const folder = await temporaryFolder(test);
    const bootPath = join(folder, "guest.img");
    await writeFile(bootPath, bootImage({ fillBytes, workingSetBytes: 4 * MIB, dirtyPagesPerTick }));
    const guest = new Guest(folder, await ModelStore.create(folder, "web1"), bootPath);
    test.teardown(() => guest.process?.kill());
    guest.process = await launchGuest(folder, MEMORY_BYTES, bootPath, null);
    await guest.change("ready");
    return { guest, first: (await guest.leg(test, null)).generation };
  }

  get qemu(): QemuProcess {
    if (this.process === null) throw new Error("the guest does not run");
    return this.process;
  }

  /** Ends it, and goes on from a generation as `recover` does. */
  async restart(generation: StoredGeneration): Promise<void> {
    await this.process?.kill();
    this.process = await launchGuest(this.folder, MEMORY_BYTES, this.bootPath, generation);
    await loadGuest(this.model, this.process, generation);
  }

  async change(what: "ready" | "rewrite" | "increment" | "zero", first = 0, count = 0): Promise<void> {
    const guest = await GuestConsole.connect(consolePath(this.folder), { timeoutMs: 120_000 });
    if (what === "ready") await guest.ready();
    else await guest[what](firstFilledPage + first, count);
    guest.close();
  }

  /** What the guest maps of a base. `loaded`: as an agent knows it that has loaded the QEMU with that generation. */
  async mapping(base: StoredGeneration, loaded: StoredGeneration | null) {
    const given = loaded && loadedGeneration(this.model.core, loaded);
    return await openGuestMapping({ ...this.qemu, loaded: given }, await contentOf(base), MEMORY_BYTES);
  }

  /**
   * A leg through the product's pump that ends as failed when all was read: the guest runs on. What came of it is a
   * generation, whose memory is compared with the guest's.
   */
  async leg(test: Tap, base: StoredGeneration | null, mapping: Awaited<ReturnType<Guest["mapping"]>> = null) {
    const core = await loadLegCore();
    const { store, key, vm } = this.model;
    const generation = ++this.legs;
    const pump: SourcePump = new SourcePump({
      core,
      sink: {
        send: () => {},
        sendFrame: (_frame, sequence) => queueMicrotask(() => pump.acknowledged(sequence)),
      },
      key,
      base: base === null ? { mode: "nothing" } : await contentOf(base),
      mapping,
      ramBlock: "pc.ram",
      memoryBytes: MEMORY_BYTES,
      target: { generationsPath: store.generationsPath, vm, generation, legId: `leg-${generation}` },
      hasDisks: false,
      threads: null,
      onBaseDropped: (reason) => test.fail(reason),
    });
    const source = new SourceQemu(
      this.qemu.qmp,
      this.folder,
      () => {},
      () => {},
    );
    const outgoing = await source.started;
    source.pumpInto(outgoing, pump);
    await pump.established;
    // Some passes, during which it writes.
    while (pump.receivedBytes < 1.3 * fillBytes && outgoing.status !== "pre-switchover") await sleep(10);
    await outgoing.setDowntimeLimit(60_000);
    await outgoing.preSwitchover;
    pump.drain();
    await outgoing.continueSwitchover();
    const end = await pump.ended;
    const dump = join(this.folder, "dump.bin");
    await this.qemu.qmp.execute("pmemsave", { val: 0, size: MEMORY_BYTES, filename: dump });
    const unwritten = pump.unwrittenPages;
    const { counts } = pump.encoder;
    const stored = await commitPass(this.model, pump, end);
    await outgoing.abort();
    test.strictSame(
      await differing(this.model, stored, dump),
      [],
      `generation ${generation} is the guest's memory`,
    );
    await rm(dump);
    return { generation: stored, unwritten, counts };
  }
}

type Tap = Pick<typeof t, "fail" | "strictSame">;

async function contentOf(generation: StoredGeneration) {
  return { mode: "content", generation, digests: await readDigests(generation) } as const;
}

/** Pages of RAM in which a generation differs from a dump. */
async function differing(model: ModelStore, generation: StoredGeneration, dump: string): Promise<number[]> {
  const memory = await readFile(dump);
  const { core } = model;
  const content = new GenerationContent(core, generation);
  const target = core.allocate(page);
  const found: number[] = [];
  for (let i = 0; i < MEMORY_BYTES / page; i++) {
    if (i >= holeFirst && i < holeEnd) continue;
    content.readPages(i, 1, target);
    if (memory.compare(core.bytes(), target, target + page, i * page, (i + 1) * page) !== 0) found.push(i);
  }
  core.release(target);
  content.close();
  return found;
}

t.test(
  "every page that is not compared is the base's, however the guest writes meanwhile",
  needsLinux,
  async (t) => {
    const { guest, first } = await Guest.boot(t, { dirtyPagesPerTick: 1000 });
    await guest.restart(first);
    const { core } = guest.model;
    const content = new GenerationContent(core, first);
    t.teardown(() => content.close());
    const target = core.allocate(page);
    let skipped = 0;
    let compared = 0;
    for (let round = 0; round < 6; round++) {
      const mapping = await guest.mapping(first, null);
      const unwritten = mapping && unwrittenPages(mapping, first.manifest, content);
      if (mapping === null || unwritten === null) throw new Error("the mapping was not found");
      let main = -1;
      const wrong: number[] = [];
      const window = new StreamWindow(core, {
        machine: () => {},
        command: () => {},
        ramBlocks: (blocks: readonly RamBlock[]) => {
          main = blocks.findIndex(({ id }) => id === "pc.ram");
        },
        page: (block, number, bytes, at) => {
          if (block !== main || !unwritten.isBase(number)) {
            compared++;
            return;
          }
          skipped++;
          content.readPages(number, 1, target);
          if (
            Buffer.compare(bytes.subarray(at, at + page), core.bytes().subarray(target, target + page)) !== 0
          ) {
            wrong.push(number);
          }
        },
        zeroPage: () => {},
        deviceState: () => {},
      });
      const outgoing = await startOutgoing(guest.qemu.qmp, {
        socketPath: join(guest.folder, "out.sock"),
        // Below what the guest writes, so that QEMU goes on with passes.
        maxBandwidthBytesPerSecond: 64 * MIB,
        onData: (chunk) => {
          unwritten.received();
          window.push(chunk);
        },
      });
      outgoing.completed.catch(() => {});
      const writing = guest.change(round % 2 === 0 ? "rewrite" : "increment", 1024 * round, 1500);
      const until = (2 + round) * fillBytes * 0.6;
      while (window.receivedBytes < until && outgoing.status !== "pre-switchover") await sleep(5);
      // If QEMU has stopped the VM, its guest answers only when it runs again.
      await Promise.race([writing, outgoing.preSwitchover]);
      await outgoing.abort();
      await writing;
      mapping.pages.close();
      t.strictSame(wrong, [], `round ${round}: all are what the base has`);
    }
    t.ok(skipped > fillPages, `${skipped} pages were not compared`);
    t.ok(compared > 1000, `${compared} pages were`);
  },
);

t.test("legs over a mapped base give the guest's memory, page by page", needsLinux, async (t) => {
  const { guest, first } = await Guest.boot(t);
  await guest.restart(first);
  await guest.change("rewrite", 2000, 500);
  const one = await guest.leg(t, first, await guest.mapping(first, first));
  t.ok(one.unwritten > fillPages / 2, `${one.unwritten} pages were not compared`);
  t.ok(one.counts.delta + one.counts.lz4 + one.counts.raw >= 500);

  // The leg has failed, the guest runs on; its base may be that of before, or another one over the same image.
  await guest.change("zero", 4000, 100);
  await guest.change("increment", 5000, 100);
  const again = await guest.leg(t, first, await guest.mapping(first, null));
  t.ok(
    again.unwritten > fillPages / 2 && again.unwritten < one.unwritten,
    `${again.unwritten} the second time`,
  );
  const over = await guest.leg(t, one.generation, await guest.mapping(one.generation, first));
  t.ok(over.unwritten > fillPages / 2, `${over.unwritten} over a delta on the same image`);

  // As after recover: the image is that of generation 1, the pages of two deltas are fed.
  const top = (await guest.leg(t, over.generation, await guest.mapping(over.generation, null))).generation;
  t.equal(top.below.length, 3);
  await guest.restart(top);
  await guest.change("rewrite", 3000, 300);
  const recovered = await guest.leg(t, top, await guest.mapping(top, top));
  t.ok(recovered.unwritten > fillPages / 2, `${recovered.unwritten} after a restart`);

  await t.test("also when the base was compacted since", async (t) => {
    const mapped = imagePathOf(top);
    const loaded = loadedGeneration(guest.model.core, top);
    const base = await compact(guest.model.core, top);
    t.equal(base.below.length, 0);
    t.not(imagePathOf(base), mapped);
    const content = await contentOf(base);
    const none = await openGuestMapping({ ...guest.qemu, loaded: null }, content, MEMORY_BYTES);
    t.equal(none, null, "an agent that has not loaded it cannot know");
    await guest.change("increment", 6000, 200);
    const mapping = await openGuestMapping({ ...guest.qemu, loaded }, content, MEMORY_BYTES);
    const after = await guest.leg(t, base, mapping);
    t.ok(after.unwritten > fillPages / 2, `${after.unwritten} pages were not compared`);
    const other = { ...loaded, id: { generation: 99, root: loaded.id.root } };
    const foreign = await openGuestMapping({ ...guest.qemu, loaded: other }, content, MEMORY_BYTES);
    const compared = await guest.leg(t, base, foreign);
    t.equal(compared.unwritten, 0, "nor does it hold for another generation");
  });
});

t.test(
  "pages that only the base has are compared, though the guest has not written to them",
  needsLinux,
  async (t) => {
    const { guest, first } = await Guest.boot(t);
    await guest.restart(first);
    await guest.change("rewrite", 2000, 500);
    const { generation: second } = await guest.leg(t, first, await guest.mapping(first, first));
    // Its memory is that of generation 1 again, all of it in the image.
    await guest.restart(first);
    const newer = await guest.leg(t, second, await guest.mapping(second, first));
    t.ok(newer.unwritten > fillPages / 2, `${newer.unwritten} pages were not compared`);
    t.ok(newer.counts.delta + newer.counts.lz4 + newer.counts.raw + newer.counts.moved >= 500);

    // As if all that QEMU was fed had been given back to the image, which is not the base's any more.
    const loaded = loadedGeneration(guest.model.core, second);
    const base = await compact(guest.model.core, second);
    const given = await openGuestMapping({ ...guest.qemu, loaded }, await contentOf(base), MEMORY_BYTES);
    const after = await guest.leg(t, base, given);
    t.ok(after.unwritten > fillPages / 2, `${after.unwritten} pages were not compared`);
  },
);

t.test("where nothing is known for sure, all is compared", needsLinux, async (t) => {
  const { guest, first } = await Guest.boot(t);
  const base = await contentOf(first);
  const open = (process: { readonly pid: number; readonly startTime: string }) =>
    openGuestMapping({ ...process, loaded: null }, base, MEMORY_BYTES);
  t.equal(await open(guest.qemu), null, "it was booted: nothing is mapped");
  t.equal((await guest.leg(t, first, await open(guest.qemu))).unwritten, 0);
  await guest.restart(first);
  t.equal(await open({ pid: process.pid, startTime: guest.qemu.startTime }), null, "a wrong pid");
  t.equal(await open({ ...guest.qemu, startTime: "before" }), null, "a process of before");
  t.equal(await openGuestMapping(null, base, MEMORY_BYTES), null, "a VM that was attached");
  const right = { ...guest.qemu, loaded: null };
  t.equal(await openGuestMapping(right, { mode: "nothing" }, MEMORY_BYTES), null, "no base");
  t.equal(await openGuestMapping(right, base, MEMORY_BYTES - page), null, "another size");
  const mapping = await open(guest.qemu);
  t.ok(mapping);
  mapping?.pages.close();

  const memory = { kind: "image", path: imagePathOf(first), rom: false } as const;
  const extra = ["-net", "none", "-device", "virtio-balloon-pci"];
  const punching = await launchTestQemu(t, { memory, incoming: true, paused: true, extra });
  t.equal(await open(punching), null, "its guest may punch holes into the image");
});

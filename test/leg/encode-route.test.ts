/** Pages through the threads, against what was put in: the frames replayed, the image, the digests. */

import { once } from "node:events";
import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Worker } from "node:worker_threads";
import t from "tap";
import { batchPages } from "../../cli/leg/batch-slot.ts";
import { plainPlan } from "../../cli/leg/codec-run.ts";
import { EncodeRoute, encodeThreads } from "../../cli/leg/encode-route.ts";
import { beginGeneration, type GenerationWriter } from "../../cli/store/generation-writer.ts";
import { wasmZstd } from "../../cli/zstd.ts";
import { type Core, loadCore } from "../../src/core.ts";
import { ChangeEncoder, type Common } from "../../src/delta/change-encoder.ts";
import { FrameSequence } from "../../src/delta/frame-sequence.ts";
import { PageDecoder } from "../../src/delta/page-decoder.ts";
import { digestBytes, PageDigests } from "../../src/generation/digest-tree.ts";
import { placeRegions } from "../../src/generation/geometry.ts";
import {
  baseOf,
  contentOf,
  noisePage as makeNoise,
  type Pages,
  recordsOf,
  textPage,
  zeroes,
} from "../delta/pages-twin.ts";
import { noiseFrom, page } from "../store/model-store.ts";

const key = new Uint8Array(32).fill(3);
const mainPages = 3 * batchPages + 17;
const geometry = placeRegions([
  { name: "pc.ram", kind: "ram", lengthBytes: mainPages * page },
  { name: "rom", kind: "ram", lengthBytes: 9 * page },
]);
const someNoise = makeNoise(1);
const plan = (level: 0 | 1) => ({ ...plainPlan, level, firstLevel: level, tried: [] });

interface Settings {
  readonly folder: string;
  readonly threads?: number;
  readonly level?: 0 | 1;
  /** What the peer has, and what the own copy stands on, by digests; without it they have nothing. */
  readonly own?: Pages;
  readonly peer?: Pages;
  readonly imagePath?: string;
  readonly onFrame?: () => void;
}

/** Noise that costs little to make. */
function noisePage(seed: number): Uint8Array {
  const content = someNoise.slice();
  new DataView(content.buffer).setUint32(0, seed);
  return content;
}

/** A source whose frames are kept. */
class Rig {
  readonly frames: Uint8Array[] = [];
  readonly failures: Error[] = [];
  readonly warnings: string[] = [];
  readonly model: Pages = new Map();
  readonly core: Core;
  readonly route: EncodeRoute;
  readonly encoder: ChangeEncoder;
  readonly digests: PageDigests;
  readonly writer: GenerationWriter;
  rooms = 0;
  isLinkBusy = false;
  private readonly content: number;

  constructor(core: Core, settings: Settings) {
    this.core = core;
    const { folder, threads = 1, level = 0, own, peer, onFrame } = settings;
    this.content = core.allocate(page);
    const target = { vm: "web1", generation: 1, legId: `leg-${Math.random()}` };
    this.writer = beginGeneration(core, folder, target, geometry, null);
    const sequence = new FrameSequence(2);
    this.digests = new PageDigests(core, key, geometry, peer && digestsOf(core, peer));
    for (const [number, content] of own ?? []) this.model.set(number, content);
    const common: Common = own ? { mode: "digests", own: digestsOf(core, own) } : { mode: "nothing" };
    this.encoder = new ChangeEncoder(
      core,
      this.digests,
      common,
      (frame, said) => {
        this.writer.apply(said, frame);
        this.frames.push(frame);
      },
      sequence,
    );
    this.route = new EncodeRoute({
      core,
      encoder: this.encoder,
      digests: this.digests,
      sequence,
      key,
      mode: common.mode,
      threads:
        threads === 0
          ? null
          : {
              count: threads,
              afterBytes: page,
              onFailed: (error) => this.failures.push(error),
              warn: (message) => this.warnings.push(message),
            },
      isLinkBusy: () => this.isLinkBusy,
      imagePath: settings.imagePath ?? this.writer.imagePath,
      plan: () => plan(level),
      learn: () => {},
      onFrame: (frame, said) => {
        onFrame?.();
        this.writer.applyWritten(said, frame);
        this.frames.push(frame);
      },
      onRoom: () => {
        this.rooms++;
      },
    });
  }

  send(number: number, content: Uint8Array): void {
    const region = number < mainPages ? 0 : 1;
    const local = number - geometry.regions[region].firstPage;
    this.model.set(number, content);
    if (content === zeroes) this.route.zeroPage(region, local);
    else {
      this.core.bytes().set(content, this.content);
      this.route.page(region, local, this.content);
    }
  }

  async untilParallel(): Promise<void> {
    while (this.route.threads === 0) await nextTurn();
  }

  async done(): Promise<void> {
    await new Promise<void>((resolve) => this.route.whenDone(resolve));
  }

  /** What a peer has in the end that had `before`. */
  replayed(before: Pages = new Map()): Pages {
    const pages = new Map(before);
    const decoder = new PageDecoder(this.core, geometry.regions, baseOf(this.core, new Map()));
    for (const [i, frame] of this.frames.entries()) {
      const decoded = decoder.decode(frame);
      if (decoded.sequence !== i + 2) throw new Error(`frame ${decoded.sequence} comes as number ${i + 2}`);
      for (const record of recordsOf(this.core, decoded)) {
        pages.set(geometry.regions[decoded.region].firstPage + record.page, record.content);
      }
    }
    decoder.release();
    return pages;
  }

  async close(): Promise<void> {
    await this.route.close();
    await this.writer.discard();
  }
}

async function rigFor(
  t: { teardown(run: () => Promise<void>): void; testdir(): string },
  settings: Omit<Settings, "folder"> = {},
): Promise<Rig> {
  const core = await loadCore({ initialBytes: 32 << 20, zstd: await wasmZstd() });
  const rig = new Rig(core, { ...settings, folder: t.testdir() });
  t.teardown(() => rig.close());
  return rig;
}

function digestsOf(core: Core, pages: Pages): Uint8Array {
  const all = new Uint8Array(geometry.totalPages * digestBytes);
  for (let i = 0; i < geometry.totalPages; i++) {
    all.set(core.blake3(contentOf(pages, i), key, digestBytes), i * digestBytes);
  }
  return all;
}

function flat(pages: Pages): Uint8Array {
  const all = new Uint8Array(geometry.totalPages * page);
  for (const [number, content] of pages) all.set(content, number * page);
  return all;
}

for (const [threads, level] of [
  [0, 0],
  [1, 0],
  [3, 1],
] as const) {
  t.test(`whatever comes in whatever order arrives in its last version: ${threads} threads`, async (t) => {
    const rig = await rigFor(t, { threads, level });
    rig.send(0, textPage(1));
    if (threads > 0) await rig.untilParallel();
    for (let i = 1; i < geometry.totalPages; i++)
      if (i % 6 !== 0) rig.send(i, i % 9 === 0 ? noisePage(i) : textPage(i));
    rig.route.flush();
    const random = noiseFrom(threads + 1);
    for (let i = 0; i < 1500; i++) {
      const number = (random() * 256 + random()) % geometry.totalPages;
      const kind = random() % 4;
      // The same pages come again while their last version is under way, also with the content that they had.
      if (kind === 0) rig.send(number, zeroes);
      else if (kind === 1) rig.send(number, contentOf(rig.model, number));
      else rig.send(number, textPage(random()));
      if (i % 400 === 399) await nextTurn();
    }
    await rig.done();
    // Nothing is under way any more, so that it is known to be there.
    const settled = rig.encoder.counts.same;
    rig.send(1, contentOf(rig.model, 1));
    await rig.done();
    t.equal(rig.encoder.counts.same, settled + 1, "what is known to be there is left out");
    t.strictSame(rig.failures, []);
    t.equal(rig.route.pendingBytes, 0);
    t.ok(Buffer.from(flat(rig.replayed())).equals(flat(rig.model)), "the peer has it");
    t.ok(readFileSync(rig.writer.imagePath).equals(flat(rig.model)), "so has the own copy");
    t.ok(Buffer.from(rig.digests.digests).equals(digestsOf(rig.core, rig.model)), "and the digests say so");
    const { counts } = rig.encoder;
    const records = Object.values(rig.writer.records).reduce((sum, count) => sum + count, 0);
    t.equal(records, counts.zero + counts.delta + counts.lz4 + counts.raw, "what was sent was recorded");
    t.equal(rig.encoder.changedBytes, records * page);
    const { distinctBytes } = rig.encoder;
    t.ok(distinctBytes >= Math.floor((5 / 6) * (geometry.totalPages - 1)) * page, "each page counts");
    t.ok(distinctBytes <= geometry.totalPages * page, "once");
    t.equal(
      rig.encoder.frameBytes,
      rig.frames.reduce((sum, frame) => sum + frame.length, 0),
    );
  });
}

t.test("on digests, a page is left out only if both sides have it", async (t) => {
  const peer: Pages = new Map([1, 2, 3].map((i) => [i, textPage(i)]));
  const own: Pages = new Map([
    [1, textPage(1)],
    [2, noisePage(2)],
  ]);
  const rig = await rigFor(t, { own, peer });
  rig.send(9, textPage(9));
  await rig.untilParallel();
  for (const i of [1, 2, 3]) rig.send(i, textPage(i));
  rig.send(4, zeroes);
  await rig.done();
  t.equal(rig.encoder.counts.same, 1, "page 1: the own copy has the others otherwise");
  const sent = rig.replayed();
  t.strictSame([...sent.keys()].sort(), [2, 3, 9]);
  for (const i of [1, 2, 3]) rig.send(i, textPage(i));
  await rig.done();
  t.equal(rig.encoder.counts.same, 4, "once they were sent, all have them");
});

t.test("when the threads have enough it says so, and tells when there is room", async (t) => {
  const rig = await rigFor(t, { threads: 1 });
  rig.send(0, textPage(0));
  await rig.untilParallel();
  t.notOk(rig.route.isFull);
  for (let i = 0; i < mainPages; i++) rig.send(i, noisePage(i));
  t.ok(rig.route.isFull);
  t.ok(rig.route.pendingBytes >= 2 * batchPages * page, "what is under way counts as backlog");
  await rig.done();
  t.notOk(rig.route.isFull);
  t.equal(rig.rooms, 4);
});

t.test("a disk that refuses a page ends it with what the system said, once", async (t) => {
  const rig = await rigFor(t, { imagePath: "/dev/full" });
  rig.send(0, textPage(0));
  await rig.untilParallel();
  for (let i = 0; i < mainPages; i++) rig.send(i, noisePage(i));
  rig.route.whenDone(() => t.fail("it is not done"));
  while (rig.failures.length === 0) await nextTurn();
  t.match(rig.failures[0].message, /Cannot encode, or write \/dev\/full: the disk is full/);
  await rig.close();
  t.equal(rig.failures.length, 1);
  t.equal(rig.frames.length, 1, "only what went before");
});

t.test("a thread that ends, ends the leg; what cannot be handed on too", async (t) => {
  const workers: Worker[] = [];
  const onWorker = (worker: Worker) => workers.push(worker);
  process.on("worker", onWorker);
  t.teardown(async () => process.off("worker", onWorker));
  const rig = await rigFor(t);
  rig.send(0, textPage(0));
  await rig.untilParallel();
  rig.send(1, textPage(1));
  const ended = once(workers[0], "exit");
  workers[0].terminate();
  await ended;
  t.strictSame(
    rig.failures.map(({ message }) => message),
    ["Cannot encode: a thread ended"],
  );
  const onFrame = () => {
    throw new Error("no room for frames");
  };
  const other = await rigFor(t, { onFrame });
  other.send(0, textPage(0));
  await other.untilParallel();
  other.send(1, textPage(1));
  other.route.flush();
  while (other.failures.length === 0) await nextTurn();
  t.equal(other.failures[0].message, "no room for frames");
});

t.test("after its end nothing is handed on, and nothing is written", async (t) => {
  const rig = await rigFor(t, { threads: 2 });
  rig.send(0, textPage(0));
  await rig.untilParallel();
  const { length } = rig.frames;
  for (let i = 0; i < mainPages; i++) rig.send(i, noisePage(i));
  const closing = rig.route.close();
  await closing;
  const image = readFileSync(rig.writer.imagePath);
  await nextTurn();
  t.equal(rig.frames.length, length);
  t.ok(readFileSync(rig.writer.imagePath).equals(image));
  t.strictSame(rig.failures, []);
  await rig.writer.discard();
  t.throws(() => rig.writer.applyWritten(saidOf(), new Uint8Array(1)), /it was given up/);
  t.throws(() => rig.writer.applyDisk(new Uint8Array(1), 9, new Uint8Array(0)), /it was given up/);
});

function saidOf() {
  return { region: 0, sequence: 2, count: 1, pages: new Uint32Array(1), kinds: Uint8Array.of(2) };
}

t.test("threads that cannot start are told of, and this one goes on", async (t) => {
  const rig = await rigFor(t, { imagePath: join(t.testdir(), "no", "image") });
  rig.send(0, textPage(0));
  while (rig.warnings.length === 0) await nextTurn();
  t.match(rig.warnings[0], /^Cannot encode in several threads/);
  for (let i = 1; i < 300; i++) rig.send(i, textPage(i));
  await rig.done();
  t.equal(rig.route.threads, 0);
  t.ok(Buffer.from(flat(rig.replayed())).equals(flat(rig.model)));
  t.strictSame(rig.failures, []);
});

t.test("a link that is the limit starts none", async (t) => {
  const workers: Worker[] = [];
  const onWorker = (worker: Worker) => workers.push(worker);
  process.on("worker", onWorker);
  t.teardown(async () => process.off("worker", onWorker));
  const rig = await rigFor(t);
  rig.isLinkBusy = true;
  for (let i = 0; i < 20; i++) rig.send(i, textPage(i));
  await nextTurn();
  t.equal(workers.length, 0);
  rig.isLinkBusy = false;
  rig.send(30, textPage(1));
  await rig.untilParallel();
  t.equal(workers.length, 1);
});

t.test("threads are for machines with more than one core", async (t) => {
  const threads = encodeThreads({ onFailed: () => {}, warn: () => {} });
  t.equal(threads?.count ?? 0, Math.min(6, availableParallelism() - 1));
});

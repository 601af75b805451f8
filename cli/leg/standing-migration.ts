/**
 * A migration that is open while nobody asked for one, so that QEMU keeps a log of what the guest changes. Its first
 * pass is read and compared with the generation that the VM came with, then QEMU is held before the pass ends:
 *
 *     reading ──at the hold's page──► settling ──► held ──┐
 *        │                               │                ├──leg with that base──► adopted: read on, only what changed
 *        └───────────────┬───────────────┴────────────────┘
 *                        ├──anything else──► over: the migration is cancelled, the VM runs on
 *                        └──QEMU stopped the VM, failed, or too much changed──► over, the same way
 *
 * The guest runs all the time. What differs is kept for the leg in its unfinished generation.
 */

import { randomUUID } from "node:crypto";
import { messageOf, OperationError } from "../errors.ts";
import { deferred } from "../qemu/deferred.ts";
import type { MigrationInfo } from "../qemu/migration-info.ts";
import type { OutgoingMigration } from "../qemu/outgoing-migration.ts";
import type { QmpClient } from "../qemu/qmp-client.ts";
import { readDigests, type StoredGeneration } from "../store/generation-reader.ts";
import type { CommonBase } from "./common-base.ts";
import { KeptFrames } from "./kept-frames.ts";
import { loadLegCore } from "./leg-core.ts";
import type { SourceLink } from "./source-link.ts";
import { SourcePump } from "./source-pump.ts";
import { SourceQemu } from "./source-qemu.ts";
import { holdMarginBytes, holdPage } from "./standing-hold.ts";
import { type GuestMapping, type GuestProcess, openGuestMapping } from "./unwritten-pages.ts";

/** The first pass is nobody's hurry: the guest and other legs need the machine too. */
const passBytesPerSecond = 256 << 20;
/** When more of the memory than one part in so many differs from the base, reading it all again costs little more. */
const keptPart = 4;

/** What a standing migration needs. */
export interface StandingOptions {
  readonly qmp: QmpClient;
  /** Its process; null if somebody else has started it. */
  readonly guest: GuestProcess | null;
  /** Folder for the migration socket. */
  readonly runPath: string;
  readonly generationsPath: string;
  readonly vm: string;
  readonly memoryBytes: number;
  readonly ramBlock: string;
  /** The VM's digest key. */
  readonly key: Uint8Array;
  /** An intact generation: what the memory is compared with. */
  readonly base: StoredGeneration;
  /** Number of the generation that a leg would make. */
  readonly generation: number;
  readonly warn: (message: string) => void;
}

/** How a standing migration ended. */
export interface StandingEnd {
  readonly how: "adopted" | "given-up" | "failed" | "useless";
  readonly why: string;
}

export type StandingState = "reading" | "settling" | "held" | "over";

/** One standing migration. Create it with `beginStanding`. */
export class StandingMigration {
  readonly pump: SourcePump;
  readonly qemu: SourceQemu;
  /** What it is compared with, and the number of the generation that would come of it. */
  readonly base: StoredGeneration;
  readonly generation: number;
  /** When the hold was complete; null before. */
  heldSince: number | null = null;
  /** Resolves when it is not there any more, or is a leg's. */
  readonly over: Promise<StandingEnd>;
  private readonly options: StandingOptions;
  private readonly frames = new KeptFrames();
  private readonly end = deferred<StandingEnd>();
  private phase: StandingState = "reading";
  private holdAt = Number.POSITIVE_INFINITY;
  private outgoing: OutgoingMigration | null = null;
  private discarding: Promise<void> | null = null;

  constructor(
    core: SourcePump["core"],
    base: CommonBase & { readonly mode: "content" },
    mapping: GuestMapping | null,
    options: StandingOptions,
  ) {
    const { generation, vm, key, ramBlock, memoryBytes, generationsPath } = options;
    this.options = options;
    this.base = base.generation;
    this.generation = generation;
    this.over = this.end.promise;
    this.pump = new SourcePump({
      core,
      sink: this.frames,
      key,
      base,
      mapping,
      ramBlock,
      memoryBytes,
      hasDisks: false,
      target: { generationsPath, vm, generation, legId: randomUUID() },
      threads: null,
      onBaseDropped: (reason) => this.fail("useless", reason),
    });
    this.qemu = new SourceQemu(
      options.qmp,
      options.runPath,
      (reason) => this.fail("failed", `QEMU ended the migration: ${reason}`),
      options.warn,
      // No capability can be added later: the guest may have to be slowed down in the leg.
      { firstBytesPerSecond: passBytesPerSecond, canThrottle: true, onChunk: () => this.watch() },
    );
  }

  get state(): StandingState {
    return this.phase;
  }

  /** Bytes of the pages that differ from the base so far, and of their frames. */
  get kept(): { readonly pageBytes: number; readonly frameBytes: number } {
    const pageBytes = this.pump.isEstablished ? this.pump.encoder.changedBytes : 0;
    return { pageBytes, frameBytes: this.frames.keptBytes };
  }

  /** What QEMU says of the migration. */
  async query(): Promise<MigrationInfo | null> {
    return (await this.outgoing?.query()) ?? null;
  }

  /** Reads the pass from its beginning. Throws OperationError when QEMU refuses. */
  async begin(): Promise<void> {
    // Before anything is read: what came while a file is waited for could lie behind the page where reading has to stop.
    const marginBytes = await holdMarginBytes();
    const outgoing = await this.qemu.started;
    this.outgoing = outgoing;
    outgoing.preSwitchover.then(
      // It has stopped the VM, which must run on at once.
      () => this.fail("failed", "QEMU came to the end of its pass though it was held"),
      () => {},
    );
    this.qemu.pumpInto(outgoing, this.pump);
    await Promise.race([this.pump.established, this.over]);
    if (this.phase === "over") return;
    const { digests } = this.pump;
    const page = holdPage(digests.digests, digests.zero, marginBytes);
    if (page === null)
      this.fail("useless", "its memory is too small, or too empty, to be held: a scan takes no time");
    else this.holdAt = page;
    this.watch();
  }

  /** True if a leg with that base, which makes that generation, can go on from here. */
  fits(base: CommonBase, generation: number): boolean {
    if (this.phase === "over" || !this.pump.isEstablished || generation !== this.generation) return false;
    if (base.mode !== "content") return false;
    const { manifest } = base.generation;
    return manifest.generation === this.base.manifest.generation && manifest.root === this.base.manifest.root;
  }

  /** From now on it is the leg's, which gives it up if it fails. `replay` is to follow. */
  adopt(): void {
    this.become("adopted", "a leg has gone on from it");
    // Nothing more is read until the peer has what was kept.
    this.pump.holdRam(true);
  }

  /** Sends the leg's peer what was kept; what the pump makes then goes there by itself. */
  async replay(link: SourceLink, onFrame: (sequence: number, bytes: number) => void): Promise<void> {
    const { writer } = this.pump;
    this.pump.linkChanged(link.isUp);
    await this.frames.deliver(link, writer.directory, () => this.pump.room(), onFrame);
  }

  /** Cancels it; the VM runs on, or stays as it is. Resolves when QEMU is free and nothing is left in the store. */
  async discard(why: string): Promise<void> {
    if (this.phase !== "over") {
      this.become("given-up", why);
      this.pump.holdRam(true);
      this.discarding = this.cleanUp();
    }
    await this.discarding;
  }

  /** The chunk that was just taken may have come to the hold's page, or shown that it is not worth while. */
  private watch(): void {
    if (this.phase !== "reading" || !this.pump.isEstablished) return;
    const { pump } = this;
    const { base, memoryBytes } = this.options;
    if (this.kept.pageBytes > memoryBytes / keptPart) {
      const { generation } = base.manifest;
      this.fail("failed", `more than a quarter of its memory differs from generation ${generation} by now`);
    } else if (pump.position >= this.holdAt) {
      this.phase = "settling";
      pump.holdRam(true);
      this.qemu.settleHold(() => this.settled());
    }
  }

  private settled(): void {
    if (this.phase !== "settling") return;
    this.phase = "held";
    this.heldSince = Date.now();
    // The digests' tree is brought up to date now rather than in the leg.
    this.pump.flush();
  }

  private fail(how: "failed" | "useless", why: string): void {
    if (this.phase === "over") return;
    this.become(how, why);
    this.pump.holdRam(true);
    this.discarding = this.cleanUp();
    this.discarding.catch((error) => this.options.warn(messageOf(error)));
  }

  private become(how: StandingEnd["how"], why: string): void {
    this.phase = "over";
    this.end.resolve({ how, why });
  }

  private async cleanUp(): Promise<void> {
    const outgoing = await this.qemu.started.catch(() => null);
    await this.qemu.giveUp(false, (await outgoing?.isStoppedByOthers()) ?? false);
    await this.pump.discard();
    this.pump.release();
  }
}

/** Tells QEMU to migrate into our own hands. Throws OperationError when it refuses; then nothing is left. */
export async function beginStanding(options: StandingOptions): Promise<StandingMigration> {
  const core = await loadLegCore();
  const { guest, memoryBytes } = options;
  const digests = await readDigests(options.base);
  const base = { mode: "content", generation: options.base, digests } as const;
  const standing = new StandingMigration(
    core,
    base,
    await openGuestMapping(guest, base, memoryBytes),
    options,
  );
  try {
    await standing.begin();
    return standing;
  } catch (error) {
    await standing.discard(messageOf(error));
    throw error instanceof OperationError
      ? error
      : new OperationError("failed", messageOf(error), { cause: error });
  }
}

/** What a leg does with a standing migration: goes on from it, or cancels it and begins a migration of its own. */

import { performance } from "node:perf_hooks";
import type { GenerationId } from "../../src/generation/manifest.ts";
import type { CommonBase } from "./common-base.ts";
import type { LegProgress } from "./progress.ts";
import type { SourceLink } from "./source-link.ts";
import type { SourcePump } from "./source-pump.ts";
import type { SourceQemu } from "./source-qemu.ts";
import type { StandingMigration } from "./standing-migration.ts";

/** The standing migration of a leg, if there is one. */
export class StandingAdoption {
  private readonly standing: StandingMigration | null;
  private fate: "undecided" | "adopted" | "none";

  constructor(standing: StandingMigration | null) {
    this.standing = standing;
    this.fate = standing === null ? "none" : "undecided";
  }

  /** True while a leg that fails must leave it as it is, for the next one. */
  get isUndecided(): boolean {
    return this.fate === "undecided";
  }

  /** True if the leg has gone on from it. */
  get isAdopted(): boolean {
    return this.fate === "adopted";
  }

  /** Its migration; null if there is none. */
  get qemu(): SourceQemu | null {
    return this.standing?.qemu ?? null;
  }

  /** The base with which a leg can go on from it. */
  get preferredBase(): GenerationId | null {
    if (this.standing === null) return null;
    const { generation, root } = this.standing.base.manifest;
    return { generation, root };
  }

  /** The pump of it, which is the leg's from now on; null if the leg has to begin anew after `dismiss`. */
  take(base: CommonBase, generation: number): SourcePump | null {
    if (this.fate !== "undecided" || !this.standing?.fits(base, generation)) return null;
    this.fate = "adopted";
    this.standing.adopt();
    return this.standing.pump;
  }

  /** Cancels one that is of no use. */
  async dismiss(peer: string): Promise<void> {
    await this.standing?.discard(`${peer} does not hold the generation that it stands on`);
    this.fate = "none";
  }

  /** Hands the migration over, and sends what was kept as a first pass would be. Does nothing without an adopted one. */
  async replay(
    link: SourceLink,
    progress: LegProgress,
    onQemuFailed: (reason: string) => void,
  ): Promise<void> {
    if (this.fate !== "adopted" || this.standing === null) return;
    const { qemu, pump, kept } = this.standing;
    await qemu.handTo(onQemuFailed);
    let sentBytes = 0;
    await this.standing.replay(link, (sequence, bytes) => {
      const now = performance.now();
      pump.rate.sent(sequence, bytes, now);
      sentBytes += bytes;
      const { bytesPerSecond } = pump.rate;
      progress.replaying(sentBytes / kept.frameBytes, { wireBytes: link.wireBytes, bytesPerSecond });
    });
  }
}

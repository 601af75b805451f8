/** What a leg cost, from those who have counted. */

import { toHex } from "../../src/bytes.ts";
import { noRecords } from "../../src/delta/vocabulary.ts";
import type { MigrationInfo } from "../qemu/migration-info.ts";
import type { LegTimes } from "./leg-times.ts";
import type { LegResult } from "./source-context.ts";
import type { SourceLink } from "./source-link.ts";
import type { LegEnd } from "./source-seal.ts";

/** What is known beside the leg's end. */
export interface LegCosts {
  readonly link: SourceLink;
  /** QEMU's figures when it was last asked. */
  readonly info: MigrationInfo | null;
  readonly times: LegTimes;
  readonly tracking: LegResult["tracking"];
  readonly totalMs: number;
  readonly downtimeMs: number;
}

/** The result of a leg whose data is all at the peer. */
export function legResult({ pump, disks, stream, root, epoch }: LegEnd, costs: LegCosts): LegResult {
  const { link, info, times, tracking, totalMs, downtimeMs } = costs;
  const totals = disks?.totals;
  return {
    leg: pump.usedBase.mode === "nothing" ? "first" : "return",
    tracking,
    generation: pump.writer.generation,
    epoch,
    totalMs: Math.round(totalMs),
    downtimeMs: Math.round(downtimeMs),
    ramBytes: pump.encoder.changedBytes,
    changedBytes: pump.encoder.distinctBytes,
    diskBytes: totals?.changedBytes ?? 0,
    diskWireBytes: totals?.frameBytes ?? 0,
    wireBytes: link.wireBytes,
    resentBytes: link.resentBytes,
    reconnects: link.reconnects,
    rounds: Math.max(info?.ram?.dirtySyncCount ?? 1, disks?.rounds ?? 0),
    pages: { ...pump.encoder.counts },
    unwrittenPages: pump.unwrittenPages,
    blocks: totals?.counts ?? noRecords(),
    root: toHex(root),
    measured: times.measured({ pump, deviceWireBytes: stream.wireBytes }),
  };
}

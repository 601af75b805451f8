/**
 * Holds what the core makes of a delta's frames against the naive way of applying them: the same bytes, the same
 * digests. Where they differ, one of them is wrong, whatever the digests say.
 */

import { bytesEqual } from "../bytes.ts";
import type { Core } from "../core.ts";
import type { BasePages, DecodedPages, RegionExtent } from "../delta/page-decoder.ts";
import { frameLimits, pageBytes } from "../delta/vocabulary.ts";
import { FormatError } from "../errors.ts";
import { digestBytes } from "../generation/digest-tree.ts";
import type { Manifest } from "../generation/manifest.ts";
import { type NaiveRecord, naiveApply } from "./naive-apply.ts";
import { naiveBlake3 } from "./naive-blake3.ts";
import type { FindingLog } from "./report.ts";

const keyBytes = 32;
/** Findings about one delta; what exceeds this is counted. */
const maxFindings = 64;

const problems = {
  content:
    "cross-check: applied in the naive way, the record gives another content than the core makes of it",
  digest: "cross-check: the naive digest of the page is not the core's",
  record: "cross-check: read in the naive way, the frame has other records than the core finds in it",
  refused: "cross-check: the naive way refuses a frame that the core accepts",
  accepted: "cross-check: the core refuses a frame that the naive way accepts",
} as const;

/** Compares the frames of one delta. Call `end` after the last one. */
export class CrossCheck {
  private readonly core: Core;
  private readonly log: FindingLog;
  private readonly path: string;
  private readonly manifest: Manifest;
  private readonly key: Uint8Array;
  /** Key, one page, and the digests of a frame's records, in the core's memory. */
  private readonly memory: number;
  private suppressed = 0;
  private reported = 0;

  constructor(core: Core, log: FindingLog, path: string, manifest: Manifest, key: Uint8Array) {
    this.core = core;
    this.log = log;
    this.path = path;
    this.manifest = manifest;
    this.key = key;
    this.memory = core.allocate(keyBytes + pageBytes + frameLimits.records * digestBytes);
    core.bytes().set(key, this.memory);
  }

  /** The core made `decoded` of the frame at `at` in the file. */
  compare(
    frame: Uint8Array,
    at: number,
    decoded: DecodedPages,
    extents: readonly RegionExtent[],
    base: BasePages,
  ): void {
    let records: readonly NaiveRecord[];
    try {
      const naive = this.apply(frame, extents, base);
      records = naive.records;
      const isSame = naive.region === decoded.region && naive.sequence === decoded.sequence;
      if (!isSame || records.length !== decoded.count) {
        this.add(problems.record, at);
        return;
      }
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      this.add(`${problems.refused}: ${error.message}`, at);
      return;
    }
    const { core, memory } = this;
    core.raw.pageDigests(decoded.contents, decoded.count, memory, memory + keyBytes + pageBytes);
    for (const [i, record] of records.entries()) this.compareRecord(at, decoded, i, record);
  }

  /** The core refused the frame. */
  refused(
    frame: Uint8Array,
    at: number,
    error: unknown,
    extents: readonly RegionExtent[],
    base: BasePages,
  ): void {
    if (!(error instanceof FormatError)) return;
    try {
      this.apply(frame, extents, base);
    } catch (naive) {
      if (!(naive instanceof FormatError)) throw naive;
      return;
    }
    this.add(problems.accepted, at);
  }

  end(): void {
    if (this.suppressed === 0) return;
    const problem = `cross-check: ${this.suppressed} more differences, not listed one by one`;
    this.log.add({ path: this.path, generation: this.manifest.generation, problem });
  }

  /** Gives the memory in the core back. */
  release(): void {
    this.core.release(this.memory);
  }

  private apply(frame: Uint8Array, extents: readonly RegionExtent[], base: BasePages) {
    const page = this.memory + keyBytes;
    return naiveApply(frame, extents, (number) => {
      base.readBasePage(number, page);
      return this.core.bytes().slice(page, page + pageBytes);
    });
  }

  private compareRecord(at: number, decoded: DecodedPages, i: number, record: NaiveRecord): void {
    const page = decoded.pages[i];
    if (record.page !== page || record.kind !== decoded.kinds[i]) {
      this.add(problems.record, at, decoded.region, page);
      return;
    }
    const from = decoded.contents + i * pageBytes;
    if (!bytesEqual(this.core.bytes().subarray(from, from + pageBytes), record.content)) {
      this.add(problems.content, at, decoded.region, page);
      return;
    }
    const digestAt = this.memory + keyBytes + pageBytes + i * digestBytes;
    const digest = this.core.bytes().subarray(digestAt, digestAt + digestBytes);
    if (!bytesEqual(digest, naiveBlake3(record.content, this.key, digestBytes))) {
      this.add(problems.digest, at, decoded.region, page);
    }
  }

  private add(problem: string, at: number, region?: number, page?: number): void {
    if (this.reported === maxFindings) {
      this.suppressed++;
      return;
    }
    this.reported++;
    const { generation, regions, disks } = this.manifest;
    const place =
      region === undefined || page === undefined
        ? {}
        : region < regions.length
          ? { region: regions[region].name, page }
          : {
              disk: disks[region - regions.length].name,
              block: page,
              blocks: 1,
              diskOffset: page * pageBytes,
            };
    this.log.add({ path: this.path, generation, ...place, offset: at, problem });
  }
}

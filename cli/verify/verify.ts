/** The offline verifier: no agent, no QEMU, nothing is written. */

import { loadCore } from "../../src/core.ts";
import { loadZstd } from "../zstd.ts";
import { HashPool } from "./hash-pool.ts";
import { checkLooseFile } from "./loose-file.ts";
import {
  FindingLog,
  type VerifyFinding,
  type VerifyProgress,
  type VerifyReport,
  type VmReport,
} from "./report.ts";
import { findTargets } from "./targets.ts";
import { checkVm } from "./vm-check.ts";

/** Options of `verifyPaths`. */
export interface VerifyOptions {
  /** Files with digest keys; without them the keys beside the stores are used. */
  readonly keyPaths?: readonly string[];
  /** Checks all but the contents of pages and disks. */
  readonly quick?: boolean;
  /** Replays deltas also in a naive way, and compares. */
  readonly crossCheck?: boolean;
  /** Threads that make digests of pages, from 1 on; 1, the default: this one. */
  readonly jobs?: number;
  /** Bytes of page images that a VM must have for threads to be worth their start; 32 MiB by default. */
  readonly threadsFromBytes?: number;
  readonly onProgress?: (progress: VerifyProgress) => void;
  readonly onFinding?: (finding: VerifyFinding) => void;
}

/**
 * Verifies stores, folders with stores, VMs, generations, or single manifests and frame files. What is wrong with
 * them is in the report. Throws OperationError "usage" if a path stands for nothing, or a digest key is missing.
 *
 * @example
 * const { findings } = await verifyPaths(["/var/lib/bfmig"]);
 */
export async function verifyPaths(
  paths: readonly string[],
  options: VerifyOptions = {},
): Promise<VerifyReport> {
  const log = new FindingLog(options.onFinding);
  const { vms, files } = await findTargets(paths, log);
  // The platform's zstd, so that a cross-check does not hold the portable one against itself.
  const core = await loadCore({ zstd: await loadZstd() });
  for (const file of files) await checkLooseFile(core, log, file);
  const { keyPaths = [], quick = false, crossCheck = false, jobs = 1, onProgress = () => {} } = options;
  const reports: VmReport[] = [];
  const { threadsFromBytes = 32 * 2 ** 20 } = options;
  let pool: HashPool | null = null;
  const hasherFor = (imageBytes: number): HashPool | null => {
    if (jobs > 1 && !quick && imageBytes >= threadsFromBytes) pool ??= new HashPool(jobs);
    return pool;
  };
  try {
    const each = { keyPaths, quick, crossCheck, onProgress, hasherFor };
    for (const target of vms) reports.push(await checkVm(core, log, target, each));
  } finally {
    await (pool as HashPool | null)?.close();
  }
  const generations = reports.reduce((count, vm) => count + vm.generations.length, 0);
  const diskBytes = reports.reduce((total, vm) => total + vm.diskBytes, 0);
  const { findings, notes } = log;
  return { vms: reports, generations, diskBytes, looseFiles: files.length, findings, notes };
}

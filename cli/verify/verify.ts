/** The offline verifier: no agent, no QEMU, nothing is written. */

import { loadCore } from "../../src/core.ts";
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
  const core = await loadCore();
  for (const file of files) await checkLooseFile(core, log, file);
  const { keyPaths = [], quick = false, onProgress = () => {} } = options;
  const reports: VmReport[] = [];
  for (const target of vms) reports.push(await checkVm(core, log, target, { keyPaths, quick, onProgress }));
  const generations = reports.reduce((count, vm) => count + vm.generations.length, 0);
  const diskBytes = reports.reduce((total, vm) => total + vm.diskBytes, 0);
  const { findings, notes } = log;
  return { vms: reports, generations, diskBytes, looseFiles: files.length, findings, notes };
}

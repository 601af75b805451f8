/**
 * A suite against the package's public surface that runs wherever the package does. It uses nothing but the language's
 * own library: neither Node's modules nor a test framework.
 */
import { batchChecks } from "./batch-checks.ts";
import type { Api, PortableCheck } from "./check.ts";
import { coreChecks } from "./core-checks.ts";
import { deltaChecks } from "./delta-checks.ts";
import { streamChecks } from "./stream-checks.ts";
import { verifyChecks } from "./verify-checks.ts";

export type { Api } from "./check.ts";

const CHECKS: readonly PortableCheck[] = [
  ...coreChecks,
  ...batchChecks,
  ...streamChecks,
  ...deltaChecks,
  ...verifyChecks,
];

/** Runs all checks against the package, given as `import * as api from "bfmig"`. */
export async function runPortableChecks(api: Api): Promise<{ passed: number; failures: string[] }> {
  const failures: string[] = [];
  for (const { name, run } of CHECKS) {
    try {
      await run(api);
    } catch (error) {
      failures.push(`${name}: ${error instanceof Error ? error.message : error}`);
    }
  }
  return { passed: CHECKS.length - failures.length, failures };
}

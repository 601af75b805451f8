/** What is predicted of a leg, as it is told and recorded. */

import type { Estimate } from "../../src/predict/index.ts";

/** Figures with intervals that four of five legs are expected in. */
export interface LegEstimate {
  /** Null if the leg would not end: the guest changes faster than the link carries. */
  readonly totalMs: Estimate | null;
  /** If the leg would not end: of a stop all the same. */
  readonly downtimeMs: Estimate;
  readonly wireBytes: Estimate | null;
}

/** A VM's tracking in one line for `show`. */

import type { TrackingReport } from "../agent/tracking-report.ts";
import { formatSize } from "../config/units.ts";

/** Which mode is live, and what returning now would cost. */
export function describeTracking({ mode, why, heldMs, generation, estimate }: TrackingReport): string {
  if (mode === "scan") return `scan: ${why}`;
  const held = `standing on generation ${generation} for ${Math.round((heldMs ?? 0) / 1000)} s`;
  if (estimate === null) return held;
  const kept = `${formatSize(estimate.keptWireBytes)} kept to send`;
  const { wireBytes, dirtyBytesPerSecond } = estimate;
  const cost =
    wireBytes === null
      ? kept
      : `${kept}, returning now would send ${formatSize(wireBytes.atLeast)} to ${formatSize(wireBytes.atMost)} ` +
        `(the guest changes ${formatSize(dirtyBytesPerSecond ?? 0)} a second)`;
  return `${held}; ${cost}; ${estimate.quality}`;
}

/** A progress line for commands that read much, with the time that is left. */

import process from "node:process";
import cliProgress from "cli-progress";

/** A progress line on stderr. */
export interface ProgressBar {
  readonly update: (done: number, total: number) => void;
  readonly stop: () => void;
}

/** Draws a line named `what` from the first update on; nothing at all unless `isDrawn`. */
export function progressBar(what: string, isDrawn: boolean): ProgressBar {
  if (!isDrawn) return { update: () => {}, stop: () => {} };
  const bar = new cliProgress.SingleBar({
    format: `${what} [{bar}] {percentage}%, {eta_formatted} left`,
    stream: process.stderr,
    clearOnComplete: true,
    hideCursor: true,
  });
  let isStarted = false;
  return {
    update: (done, total) => {
      if (!isStarted) bar.start(total, 0);
      isStarted = true;
      bar.update(done);
    },
    stop: () => bar.stop(),
  };
}

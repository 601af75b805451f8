/** The progress line of a leg, on a terminal's stderr. */

import { Presets, SingleBar } from "cli-progress";
import { formatRate, formatSize, formatTime } from "../config/units.ts";
import type { ControlLine } from "../control-client.ts";
import type { PrecopyProgress } from "../demo/precopy.ts";
import type { ProgressEvent } from "../leg/progress.ts";

const phaseNames = {
  disks: "disks",
  "first-pass": "first pass",
  rounds: "round",
  switchover: "switchover",
} as const;

/** Draws one line that is replaced as the leg goes on; draws nothing where stderr is not a terminal. */
export class LegProgressBar {
  private readonly bar: SingleBar | null;
  private started = false;
  private isLinkLost = false;

  constructor(wanted: boolean) {
    const format = "{phase} [{bar}] {percentage}% {wire} at {rate}{downtime}{throttle}{eta_text}";
    const options = { format, stream: process.stderr, hideCursor: true, clearOnComplete: true };
    this.bar = wanted && process.stderr.isTTY ? new SingleBar(options, Presets.legacy) : null;
  }

  show(line: ControlLine): void {
    if (line.event === "link") this.isLinkLost = line["link"] === "lost";
    if (this.bar === null || line.event !== "progress") return;
    const event = line as unknown as ProgressEvent;
    const payload = {
      phase: this.isLinkLost
        ? "link lost, waiting"
        : event.phase === "rounds"
          ? `round ${event.round}`
          : phaseNames[event.phase],
      wire: formatSize(event.wireBytes),
      rate: formatRate(event.bytesPerSecond * 8),
      downtime:
        event.expectedDowntimeMs > 0
          ? `, downtime if stopped now ${formatTime(event.expectedDowntimeMs)}`
          : "",
      throttle: event.throttlePercent > 1 ? `, guest slowed down by ${event.throttlePercent} %` : "",
      eta_text: event.etaMs === null ? "" : `, ${formatTime(event.etaMs)} left in this pass`,
    };
    const value = Math.round(event.done * 1000);
    if (this.started) this.bar.update(value, payload);
    else this.bar.start(1000, value, payload);
    this.started = true;
  }

  /** The same line for QEMU's own pre-copy. */
  showPrecopy(progress: PrecopyProgress): void {
    const { elapsedMs, transferredBytes, remainingBytes, rounds } = progress;
    this.show({
      event: "progress",
      phase: rounds > 1 ? "rounds" : "first-pass",
      round: rounds,
      done: transferredBytes / Math.max(1, transferredBytes + remainingBytes),
      wireBytes: transferredBytes,
      bytesPerSecond: (transferredBytes / Math.max(1, elapsedMs)) * 1000,
      expectedDowntimeMs: 0,
      throttlePercent: 0,
      etaMs: null,
    });
  }

  end(): void {
    if (this.started) this.bar?.stop();
    this.started = false;
  }
}

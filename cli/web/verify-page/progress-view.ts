/** Shows how far the verification is and how long it will still take. */

import { elementOf } from "./element.ts";
import { describeBytes, describeTime, timeLeftMs } from "./time-left.ts";

/** The progress bar and its line of text. */
export class ProgressView {
  private readonly section = elementOf("progress", HTMLElement);
  private readonly bar = elementOf("progress-bar", HTMLProgressElement);
  private readonly text = elementOf("progress-text", HTMLElement);
  private startedAt = 0;

  start(): void {
    this.startedAt = performance.now();
    this.section.hidden = false;
    this.bar.value = 0;
    this.text.textContent = "Reading the files …";
  }

  show(what: string, doneBytes: number, totalBytes: number): void {
    this.bar.max = Math.max(totalBytes, 1);
    this.bar.value = doneBytes;
    const percent = totalBytes === 0 ? 0 : Math.floor((100 * doneBytes) / totalBytes);
    const left = timeLeftMs(performance.now() - this.startedAt, doneBytes, totalBytes);
    const parts = [
      what,
      `${percent} % of ${describeBytes(totalBytes)}`,
      left === null ? null : `about ${describeTime(left)} left`,
    ];
    this.text.textContent = parts.filter((part) => part !== null).join(" · ");
  }

  stop(): void {
    this.section.hidden = true;
  }
}

/** How far the verification of a VM is, and how long the rest will take. */

import type { VerifyProgress } from "./report.ts";

/** Counts bytes and tells of them. */
export class ProgressMeter {
  private doneBytes = 0;
  private readonly vm: string;
  private readonly totalBytes: (doneBytes: number) => number;
  private readonly onProgress: (progress: VerifyProgress) => void;
  private readonly startedAt = performance.now();

  /** `totalBytes` is asked each time: what is to be read of disks becomes known on the way. */
  constructor(
    vm: string,
    totalBytes: (doneBytes: number) => number,
    onProgress: (progress: VerifyProgress) => void,
  ) {
    this.vm = vm;
    this.totalBytes = totalBytes;
    this.onProgress = onProgress;
  }

  /** `bytes` more were looked at, of this generation. */
  add(generation: number, bytes: number): void {
    this.doneBytes += bytes;
    this.tell(generation, Math.max(this.doneBytes, this.totalBytes(this.doneBytes)));
  }

  /** Nothing is left to be done. */
  end(generation: number): void {
    this.tell(generation, this.doneBytes);
  }

  private tell(generation: number, totalBytes: number): void {
    const { vm, doneBytes } = this;
    const elapsedMs = performance.now() - this.startedAt;
    const etaMs = doneBytes === 0 ? null : Math.round((elapsedMs / doneBytes) * (totalBytes - doneBytes));
    this.onProgress({ vm, generation, doneBytes, totalBytes, etaMs });
  }
}

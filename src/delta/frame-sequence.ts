/** Numbers of a leg's frames: RAM and disks are encoded side by side and share one numbering. */

/** Counts frames. */
export class FrameSequence {
  /** Number of the next frame. */
  next: number;

  constructor(first: number) {
    this.next = first;
  }

  /** Takes the next number. */
  take(): number {
    return this.next++;
  }
}

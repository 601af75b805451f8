/** Guests and links of the model's benchmark: what it learns on, and what it is judged by. */

import type { GuestContent } from "../../cli/demo/guest.ts";

const mebibyte = 2 ** 20;

/** A guest and what happens to it before each return leg. */
export interface ModelGuest {
  readonly name: string;
  readonly memoryBytes: number;
  readonly fillBytes: number;
  readonly content: GuestContent;
  readonly workingSetBytes: number;
  readonly dirtyPagesPerSecond: number;
  readonly diskBytes: number;
  /** Share of the filled memory that gets new content before each return leg; there are as many of them. */
  readonly rewrites: readonly number[];
}

/** A link as the emulator makes it. */
export interface ModelLink {
  readonly megabitsPerSecond: number;
  readonly rttMs: number;
}

function guest(
  name: string,
  memoryMiB: number,
  fillMiB: number,
  rest: Partial<ModelGuest> & Pick<ModelGuest, "rewrites">,
): ModelGuest {
  return {
    name,
    memoryBytes: memoryMiB * mebibyte,
    fillBytes: fillMiB * mebibyte,
    content: "mixed",
    workingSetBytes: 0,
    dirtyPagesPerSecond: 0,
    diskBytes: 0,
    ...rest,
  };
}

/** What figures are learned on: other guests and other links than those that count. */
const calibrationGuests: readonly ModelGuest[] = [
  guest("learn-busy", 96, 32, {
    content: "dense",
    workingSetBytes: 2 * mebibyte,
    dirtyPagesPerSecond: 200,
    rewrites: [0.15, 0.02, 0.3],
  }),
  guest("learn-idle", 160, 72, { rewrites: [0.01, 0.05, 0.005] }),
  guest("learn-disk", 80, 16, { diskBytes: 32 * mebibyte, rewrites: [0.02, 0.15, 0.005] }),
  guest("learn-disk-busy", 112, 48, {
    workingSetBytes: 3 * mebibyte,
    dirtyPagesPerSecond: 150,
    diskBytes: 48 * mebibyte,
    rewrites: [0.005, 0.06, 0.25, 0.02],
  }),
  guest("learn-mixed", 192, 112, { rewrites: [0.02, 0.1, 0, 0.3] }),
];
const calibrationLinks: readonly ModelLink[] = [
  { megabitsPerSecond: 80, rttMs: 120 },
  { megabitsPerSecond: 500, rttMs: 4 },
  { megabitsPerSecond: 150, rttMs: 30 },
  { megabitsPerSecond: 60, rttMs: 60 },
  { megabitsPerSecond: 300, rttMs: 12 },
];
/** Each guest over two of the links: an agent that moves a VM daily has learned of as many legs in a month. */
export const calibrationCells: readonly (readonly [guest: ModelGuest, link: ModelLink])[] = [0, 2].flatMap(
  (shift) =>
    calibrationGuests.map(
      (guest, i) => [guest, calibrationLinks[(i + shift) % calibrationLinks.length]] as const,
    ),
);

/** What counts. */
export const countedGuests: readonly ModelGuest[] = [
  guest("idle-dense", 64, 40, { content: "dense", rewrites: [0, 0.02, 0.1, 0.4] }),
  guest("idle-mixed", 256, 128, { rewrites: [0.001, 0.01, 0.05, 0.2] }),
  guest("busy", 128, 64, {
    workingSetBytes: 8 * mebibyte,
    dirtyPagesPerSecond: 400,
    rewrites: [0, 0.05, 0.2, 0.02],
  }),
  guest("disk", 96, 24, {
    content: "dense",
    workingSetBytes: mebibyte,
    dirtyPagesPerSecond: 100,
    diskBytes: 64 * mebibyte,
    rewrites: [0.01, 0.1, 0.03, 0.2],
  }),
];
export const countedLinks: readonly ModelLink[] = [
  { megabitsPerSecond: 50, rttMs: 200 },
  { megabitsPerSecond: 100, rttMs: 40 },
  { megabitsPerSecond: 200, rttMs: 20 },
  { megabitsPerSecond: 1000, rttMs: 10 },
];

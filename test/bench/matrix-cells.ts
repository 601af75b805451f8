/**
 * The cells of the matrix: which method moves a guest of which size over which link, after how much of its memory was
 * rewritten. QEMU's own variants send everything each time, and the guest does nothing while it is moved, so for them it
 * does not matter what was rewritten before: they have one cell for each size and link.
 */

import type { GuestContent } from "../../cli/demo/guest.ts";
import type { PrecopyVariant } from "../../cli/demo/precopy.ts";

const mebibyte = 2 ** 20;

/** QEMU's own ways, in the order in which they are shown. */
export const qemuVariants = ["plain", "xbzrle", "multifd-zstd"] as const satisfies readonly PrecopyVariant[];
/** How ours learns what has changed: a scan of all memory, or a dirty log that QEMU has kept since the arrival. */
export const ownModes = ["scan", "standing"] as const;
export type OwnMode = (typeof ownModes)[number];
export type Method = PrecopyVariant | OwnMode;

/**
 * What precedes a leg of ours. `first`: the peer has nothing. The others are return legs after nothing, 8 MiB, or a share
 * of all memory was rewritten, each page whole and with content that was never there before.
 */
export const works = ["first", "idle", "8mib", "1pc", "10pc", "50pc"] as const;
export type Work = (typeof works)[number];

/** How it is called. */
export const workLabels: Readonly<Record<Work, string>> = {
  first: "first leg",
  idle: "return, idle",
  "8mib": "return, 8 MiB",
  "1pc": "return, 1 %",
  "10pc": "return, 10 %",
  "50pc": "return, 50 %",
};

/** What a guest's memory holds: that of the boot-sector guest, or a Linux that has just booted. */
export type CellContent = GuestContent | "linux";

/** A link, the same in both directions. */
export interface LinkShape {
  readonly megabitsPerSecond: number;
  readonly rttMs: number;
}

/** One measurement to make. */
export interface Cell {
  readonly method: Method;
  readonly memoryMiB: number;
  readonly link: LinkShape;
  readonly content: CellContent;
  /** Null for QEMU's variants. */
  readonly work: Work | null;
  /** How often it is made. */
  readonly runs: number;
}

/** What cells are to be made. */
export interface Plan {
  readonly content: CellContent;
  readonly modes: readonly OwnMode[];
  /** A part of it that takes minutes. */
  readonly quick: boolean;
  /** Only these; null: all. */
  readonly sizes: readonly number[] | null;
  readonly links: readonly string[] | null;
  readonly methods: readonly string[] | null;
}

/** Downtime that both sides are allowed, in milliseconds. */
export const downtimeLimitMs = 300;
/** Share of a guest's memory that is filled: more than the 80 % that a guest has that has run for days. */
export const filledShare = 0.85;

export const sizesMiB = [512, 1024, 2048] as const;
export const links: readonly LinkShape[] = [
  { megabitsPerSecond: 50, rttMs: 200 },
  { megabitsPerSecond: 100, rttMs: 40 },
  { megabitsPerSecond: 1000, rttMs: 10 },
];
/** Idle legs are short, so that they may be made several times, and the middle one counts. */
const idleRuns = 3;

/** What is measured over a link, in modes that the build has. */
interface Part {
  readonly sizes: readonly number[];
  readonly variants: readonly PrecopyVariant[];
  readonly modes: readonly OwnMode[];
  readonly works: readonly Work[];
  readonly idleRuns: number;
}

const fullPart: Part = { sizes: sizesMiB, variants: qemuVariants, modes: ownModes, works, idleRuns };
const quickParts: Readonly<Record<string, Part>> = {
  "50/200": {
    sizes: [512],
    variants: ["plain", "multifd-zstd"],
    modes: ["scan"],
    works: ["first", "idle", "1pc", "10pc"],
    idleRuns: 1,
  },
  "100/40": { ...fullPart, sizes: [512] },
  "1000/10": {
    sizes: [512, 2048],
    variants: ["plain", "multifd-zstd"],
    modes: ownModes,
    works: ["first", "idle", "8mib"],
    idleRuns: 1,
  },
};
/** A Linux that has booted hardly fills its memory, and nobody works in it. */
const linuxParts: Readonly<Record<string, Part>> = {
  "100/40": { ...fullPart, sizes: [1024], works: ["first", "idle"] },
};
const quickLinuxParts: Readonly<Record<string, Part>> = {
  "100/40": {
    sizes: [1024],
    variants: ["plain", "multifd-zstd"],
    modes: ["scan"],
    works: ["first", "idle"],
    idleRuns: 1,
  },
};

/** `100/40`: Mbit/s and milliseconds. */
export function linkName({ megabitsPerSecond, rttMs }: LinkShape): string {
  return `${megabitsPerSecond}/${rttMs}`;
}

/** Bytes of a guest's memory that are filled: whole MiB. */
export function filledBytes(memoryMiB: number): number {
  return Math.floor(memoryMiB * filledShare) * mebibyte;
}

/** Pages that a work rewrites. */
export function rewrittenPages(work: Work, memoryMiB: number): number {
  const pages = (memoryMiB * mebibyte) / 4096;
  if (work === "8mib") return (8 * mebibyte) / 4096;
  const share = { first: 0, idle: 0, "1pc": 0.01, "10pc": 0.1, "50pc": 0.5 }[work];
  return Math.round(share * pages);
}

/** Unique among all cells, and good as the name of a file. */
export function cellName({ method, memoryMiB, link, content, work }: Cell): string {
  const shape = `${memoryMiB}MiB-${link.megabitsPerSecond}Mbit-${link.rttMs}ms`;
  return [content, shape, method, ...(work === null ? [] : [work])].join("-");
}

/** All cells of a plan; those that share a guest and a link lie together. */
export function cellsOf(plan: Plan): Cell[] {
  const { content } = plan;
  const wants = (method: Method) => plan.methods === null || plan.methods.includes(method);
  // The link that the targets name comes first: whoever stops the run early has it.
  const byTarget = [...links].sort(
    (a, b) => Number(b.megabitsPerSecond === 100) - Number(a.megabitsPerSecond === 100),
  );
  return byTarget.flatMap((link) => {
    const part = partOf(plan, linkName(link));
    return part.sizes.flatMap((memoryMiB) => {
      const shape = { memoryMiB, link, content };
      const variants = part.variants.filter(wants);
      const modes = part.modes.filter((mode) => plan.modes.includes(mode) && wants(mode));
      return [
        ...variants.map((method): Cell => ({ ...shape, method, work: null, runs: 1 })),
        ...modes.flatMap((method) =>
          part.works.map(
            (work): Cell => ({ ...shape, method, work, runs: work === "idle" ? part.idleRuns : 1 }),
          ),
        ),
      ];
    });
  });
}

/** What a plan has of a link; no sizes if nothing. */
function partOf({ content, quick, sizes, links: wanted }: Plan, link: string): Part {
  const linux = quick ? quickLinuxParts : linuxParts;
  const part = content === "linux" ? linux[link] : quick ? quickParts[link] : fullPart;
  if (part === undefined || wanted?.includes(link) === false) return { ...fullPart, sizes: [] };
  return { ...part, sizes: part.sizes.filter((size) => sizes === null || sizes.includes(size)) };
}

/** Whether a cell is one of QEMU's own variants. */
export function isQemuVariant(method: Method): method is PrecopyVariant {
  return (qemuVariants as readonly Method[]).includes(method);
}

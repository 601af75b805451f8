/** How the report names workloads, guests, links and methods, and writes figures. */

import { formatRate, formatTime } from "../../config/units.ts";
import type { ExperimentRecord } from "../record.ts";
import type { Group, Situation } from "./groups.ts";
import type { Summary } from "./statistics.ts";

/** What stands where there is no figure. */
export const noFigure = "–";

const methodNames: Record<ExperimentRecord["method"], string> = {
  precopy: "QEMU pre-copy",
  xbzrle: "QEMU xbzrle",
  "multifd-zstd": "QEMU multifd, zstd",
  "bfmig-first": "bfmig, first leg",
  "bfmig-return": "bfmig, return leg",
  "bfmig-standing": "bfmig, return leg, standing migration",
};

/** `bfmig, return leg`. */
export function methodName(method: ExperimentRecord["method"]): string {
  return methodNames[method];
}

/** `bfmig, return leg after 10 min away`. */
export function groupName({ method, awayMs }: Group): string {
  return awayMs === null ? methodName(method) : `${methodName(method)} after ${awayText(awayMs)} away`;
}

/** `redis`, `dirtier, 1000 pages/s`. */
export function workloadName({
  workload,
  dirtyPagesPerSecond,
}: Pick<Situation, "workload" | "dirtyPagesPerSecond">): string {
  return dirtyPagesPerSecond === null ? workload : `${workload}, ${dirtyPagesPerSecond} pages/s`;
}

/** `1 GiB, aged, disk of 4 GiB`. */
export function guestName({
  memoryBytes,
  age,
  diskBytes,
}: Pick<Situation, "memoryBytes" | "age" | "diskBytes">): string {
  return `${memoryText(memoryBytes)}, ${age}${diskBytes === 0 ? "" : `, disk of ${memoryText(diskBytes)}`}`;
}

/** `100 Mbit/s, 40 ms`. */
export function linkName({ bitsPerSecond, rttMs }: Situation["link"]): string {
  return `${formatRate(bitsPerSecond)}, ${Number(rttMs.toPrecision(3))} ms`;
}

/** All of a situation; QEMU's version too where the report has several. */
export function situationName(situation: Situation, isVersionTold: boolean): string {
  const parts = [workloadName(situation), guestName(situation), linkName(situation.link)];
  return [...parts, ...(isVersionTold ? [`QEMU ${situation.qemuVersion}`] : [])].join(" · ");
}

/** `1 GiB`. */
export function memoryText(bytes: number): string {
  for (const [unit, factor] of [
    ["GiB", 2 ** 30],
    ["MiB", 2 ** 20],
    ["KiB", 2 ** 10],
  ] as const) {
    if (bytes >= factor) return `${Number((bytes / factor).toPrecision(3))} ${unit}`;
  }
  return `${bytes} B`;
}

/** Bytes on a wire, with the units of rates: `12.3 MB`. */
export function wireText(bytes: number): string {
  for (const [unit, factor] of [
    ["GB", 1e9],
    ["MB", 1e6],
    ["kB", 1e3],
  ] as const) {
    if (bytes >= factor) return `${threeDigits(bytes / factor)} ${unit}`;
  }
  return `${Math.round(bytes)} B`;
}

/** `1.23 s`, `45 ms`, `2 m 5 s`. */
export function timeText(ms: number): string {
  return formatTime(ms);
}

/** `30 s`, `10 min`, `2 h`. */
export function awayText(ms: number): string {
  const seconds = ms / 1000;
  if (seconds < 100) return `${threeDigits(seconds, 2)} s`;
  return seconds < 6000 ? `${threeDigits(seconds / 60, 2)} min` : `${threeDigits(seconds / 3600, 2)} h`;
}

/** A share: `12.3 %`, small ones `0.057 %`; near all of it two decimals that never round up to all. A minus is a real one. */
export function shareText(share: number): string {
  return `${percentText(100 * share).replace("-", "−")} %`;
}

function percentText(percent: number): string {
  const size = Math.abs(percent);
  if (size < 0.0005) return "0";
  if (size < 1) return String(Number(percent.toPrecision(2)));
  if (percent >= 99 && percent < 100) return (Math.floor(percent * 100) / 100).toFixed(2);
  return percent.toFixed(size >= 1000 ? 0 : 1);
}

/** A share with its sign. */
export function signedShareText(share: number): string {
  return `${share > 0 ? "+" : ""}${shareText(share)}`;
}

/** Around a median: the range of two runs or more; of four or more the quartiles too. */
export function spreadTexts(summary: Summary, text: (figure: number) => string): string[] {
  const { n, least, most, lowerQuartile, upperQuartile } = summary;
  if (n === 1) return ["one run"];
  const range = `${text(least)} to ${text(most)}`;
  return n < 4 ? [range] : [range, `quartiles ${text(lowerQuartile)}, ${text(upperQuartile)}`];
}

function threeDigits(value: number, digits = 3): string {
  return String(value >= 100 ? Math.round(value) : Number(value.toPrecision(digits)));
}

/**
 * How long series of the matrix take on an idle machine of two cores, roughly: for people who wait, and for telling
 * a run that hangs from one that is slow.
 */

import { type Cell, type CellContent, filledBytes, rewrittenPages } from "./matrix-cells.ts";

/** Bytes a second that a guest fills under TCG, and starting all there is to start, in seconds. */
const boot = { bytesPerSecond: 200e6, seconds: 5 };
/** What limits each way where the link does not, in bytes of the guest's memory a second. */
const cpuBytesPerSecond = { plain: 150e6, zstd: 60e6, own: 60e6, scan: 600e6 };
/** How many times smaller the content is on the wire. */
const smaller: Readonly<Record<CellContent, { readonly zstd: number; readonly own: number }>> = {
  dense: { zstd: 1, own: 1 },
  mixed: { zstd: 3.2, own: 2 },
  linux: { zstd: 2, own: 2 },
};
/** What a Linux that has booted holds beside zeroes, in bytes, and how long it boots under TCG. */
const linux = { bytes: 145e6, bootSeconds: 15 };
/** Beside what is sent: handover, and waiting until nobody has anything to do any more. */
const legSeconds = 5;

/** Seconds for cells that one guest serves. */
export function estimateSeconds(series: readonly Cell[]): number {
  const [cell] = series;
  if (cell === undefined) return 0;
  const isLinux = cell.content === "linux";
  const bootSeconds = isLinux ? linux.bootSeconds : filledBytes(cell.memoryMiB) / boot.bytesPerSecond;
  const legs = series.reduce((sum, one) => sum + one.runs * cellSeconds(one), 0);
  return boot.seconds + bootSeconds + legs;
}

function cellSeconds({ method, memoryMiB, link, content, work }: Cell): number {
  const filled = content === "linux" ? linux.bytes : filledBytes(memoryMiB);
  const linkSeconds = (bytes: number) => bytes / (link.megabitsPerSecond * 125_000);
  const pace = (bytes: number, ratio: number, bytesPerSecond: number) =>
    Math.max(linkSeconds(bytes / ratio), bytes / bytesPerSecond);
  if (method === "plain" || method === "xbzrle") return legSeconds + pace(filled, 1, cpuBytesPerSecond.plain);
  if (method === "multifd-zstd") {
    return legSeconds + pace(filled, smaller[content].zstd, cpuBytesPerSecond.zstd);
  }
  const bytes = work === "first" || work === null ? filled : rewrittenPages(work, memoryMiB) * 4096;
  const scanned = method === "scan" ? filled / cpuBytesPerSecond.scan : 0;
  return legSeconds + scanned + pace(bytes, smaller[content].own, cpuBytesPerSecond.own);
}

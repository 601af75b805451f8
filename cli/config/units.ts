/** Sizes, rates and times as people write them. */

import { z } from "zod";

const sizeUnits: Record<string, number> = {
  "": 1,
  B: 1,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
};
const rateUnits: Record<string, number> = { "": 1, k: 1e3, M: 1e6, G: 1e9 };
const timeUnits: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** Bytes of a size such as `512MiB`. Throws RangeError that says what is accepted. */
export function parseSize(text: string): number {
  return parse(text, sizeUnits, "size", "a number with KiB, MiB or GiB, such as 512MiB");
}

/** Bits a second of a rate such as `100M`. Throws RangeError that says what is accepted. */
export function parseRate(text: string): number {
  return parse(text.replace(/bit$/, ""), rateUnits, "rate", "bits a second with k, M or G, such as 100M");
}

/** Milliseconds of a time such as `300ms`. Throws RangeError that says what is accepted. */
export function parseTime(text: string): number {
  return parse(text, timeUnits, "time", "a number with ms, s, m or h, such as 300ms");
}

/** Schema field for a size in bytes. */
export const sizeField = z.union([z.string(), z.int()]).transform((value, context) => {
  try {
    return typeof value === "number" ? value : parseSize(value);
  } catch (error) {
    context.addIssue({ code: "custom", message: (error as Error).message });
    return z.NEVER;
  }
});

/** A size for people: `12.3 MiB`. */
export function formatSize(bytes: number): string {
  for (const [unit, factor] of [
    ["GiB", 2 ** 30],
    ["MiB", 2 ** 20],
    ["KiB", 2 ** 10],
  ] as const) {
    if (bytes >= factor) return `${(bytes / factor).toFixed(bytes >= 100 * factor ? 0 : 1)} ${unit}`;
  }
  return `${bytes} B`;
}

/** A rate for people: `100 Mbit/s`. */
export function formatRate(bitsPerSecond: number): string {
  for (const [unit, factor] of [
    ["Gbit/s", 1e9],
    ["Mbit/s", 1e6],
    ["kbit/s", 1e3],
  ] as const) {
    if (bitsPerSecond >= factor) return `${Number((bitsPerSecond / factor).toPrecision(3))} ${unit}`;
  }
  return `${Math.round(bitsPerSecond)} bit/s`;
}

/** A time for people: `1.23 s`, `45 ms`. */
export function formatTime(ms: number): string {
  if (Math.round(ms) < 1000) return `${Math.round(ms)} ms`;
  if (Math.round(ms / 10) < 6000) return `${(ms / 1000).toFixed(2)} s`;
  const seconds = Math.round(ms / 1000);
  return `${Math.floor(seconds / 60)} m ${seconds % 60} s`;
}

function parse(text: string, units: Record<string, number>, what: string, accepted: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([a-zA-Z]*)$/.exec(text.trim());
  const factor = match ? units[match[2]] : undefined;
  const value = match && factor !== undefined ? Math.round(Number(match[1]) * factor) : Number.NaN;
  if (!Number.isSafeInteger(value))
    throw new RangeError(`Cannot read ${what} ${JSON.stringify(text)}: write ${accepted}`);
  return value;
}

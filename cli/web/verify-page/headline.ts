/** The one sentence that says how a verification ended. */

import type { Outcome } from "./messages.ts";

/** A verdict in words. `partial`: nothing is wrong, but not all was checked that there is. */
export interface Headline {
  readonly text: string;
  readonly kind: "good" | "partial" | "bad";
}

/** Sums an outcome up. `findings` is how many there were. */
export function headlineOf({ chains, looseFiles, quick }: Outcome, findings: number): Headline {
  const generations = chains.flatMap((chain) => chain.generations);
  const strangers = chains.filter(({ keyFits }) => keyFits === false).length;
  const haveDisks = generations.some(({ disks }) => disks.length > 0);
  const parts = [
    strangers === 0 ? null : "the key is another VM's",
    strangers > 0 && strangers === chains.length ? "no generation was verified" : null,
    generations.length === 0 ? null : `${plural(generations.length, "generation")} verified`,
    looseFiles.length === 0
      ? null
      : `${plural(looseFiles.length, "file")} checked by structure and checksums only`,
    findings === 0 ? (strangers === 0 ? "no findings" : null) : plural(findings, "finding"),
    haveDisks ? "disks were not checked" : null,
    generations.length === 0 ? null : quick ? "page contents were left out" : describeRestorable(generations),
  ];
  const text = parts.filter((part) => part !== null).join(", ");
  const isPartial = quick || haveDisks || looseFiles.length > 0;
  return {
    text: `${text.charAt(0).toUpperCase()}${text.slice(1)}`,
    kind: findings > 0 || strangers > 0 ? "bad" : isPartial ? "partial" : "good",
  };
}

/** How many can be restored, of those of which that is known. */
function describeRestorable(
  given: readonly {
    readonly disks: readonly string[];
    readonly restorable: boolean;
    readonly seed: boolean;
  }[],
): string | null {
  const generations = given.filter(({ seed }) => !seed);
  const known = generations.filter(({ disks }) => disks.length === 0);
  const good = known.filter(({ restorable }) => restorable).length;
  if (known.length === 0) return null;
  if (good === 0) return known.length === generations.length ? "none can be restored" : null;
  return good === generations.length ? "all can be restored" : `${good} can be restored`;
}

function plural(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? "" : "s"}`;
}

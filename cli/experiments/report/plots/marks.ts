/**
 * Marks of a plot's series: each has a colour and a shape of its own, so that it is known without its colour. The colours are custom
 * properties of the page, which has them for light and dark; they go back to those of Okabe and Ito, made darker or lighter until each has
 * enough contrast.
 */

import type { ExperimentRecord } from "../../record.ts";

/** How a series is drawn. */
export interface Mark {
  readonly colour: string;
  /** An SVG path within 10 × 10. */
  readonly path: string;
}

/** A line of a legend. */
export interface LegendEntry {
  readonly name: string;
  readonly mark: Mark;
}

const shapes = {
  square: "M1 1H9V9H1Z",
  triangle: "M5 0.5L9.8 9.5H0.2Z",
  diamond: "M5 0L10 5L5 10L0 5Z",
  ring: "M5 0A5 5 0 0 1 5 10A5 5 0 0 1 5 0ZM5 2.5A2.5 2.5 0 0 0 5 7.5A2.5 2.5 0 0 0 5 2.5Z",
  disc: "M5 0A5 5 0 0 1 5 10A5 5 0 0 1 5 0Z",
  plus: "M3.4 0H6.6V3.4H10V6.6H6.6V10H3.4V6.6H0V3.4H3.4Z",
  tip: "M5 9.5L9.8 0.5H0.2Z",
};

/** Colours with light and dark values. */
export const colours = {
  grey: ["#5c6765", "#b4bfbc"],
  orange: ["#b86e00", "#f2b740"],
  purple: ["#a8478a", "#e9a3cd"],
  blue: ["#0068a6", "#62b2ee"],
  red: ["#cc4408", "#ff8a57"],
  green: ["#007a5a", "#43cda4"],
  sky: ["#2387bd", "#9bd7f7"],
} as const;

/** The value of one of them for a plot. */
function colour(name: keyof typeof colours): string {
  return `var(--${name})`;
}

const methodMarks: Record<ExperimentRecord["method"], Mark> = {
  precopy: { colour: colour("grey"), path: shapes.square },
  xbzrle: { colour: colour("orange"), path: shapes.triangle },
  "multifd-zstd": { colour: colour("purple"), path: shapes.diamond },
  "bfmig-first": { colour: colour("blue"), path: shapes.ring },
  "bfmig-return": { colour: colour("red"), path: shapes.disc },
  "bfmig-standing": { colour: colour("green"), path: shapes.plus },
};

/** The mark of a method, the same in all plots. */
export function methodMark(method: ExperimentRecord["method"]): Mark {
  return methodMarks[method];
}

const seriesColours = ["blue", "red", "green", "orange", "purple", "grey", "sky"] as const;
const seriesShapes = ["disc", "square", "triangle", "diamond", "plus"] as const;

/** Marks for series that are no methods: 35 that differ, then again from the first. */
export function seriesMark(index: number): Mark {
  const name = seriesColours[index % seriesColours.length] as (typeof seriesColours)[number];
  const shape = seriesShapes[index % seriesShapes.length] as (typeof seriesShapes)[number];
  return { colour: colour(name), path: shapes[shape] };
}

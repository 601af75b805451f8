/** A figure of the report: panels side by side with one legend, or a word why there is none. */

import type { LegendEntry } from "./marks.ts";

/** One plot. */
export interface Panel {
  readonly title: string;
  /** SVG with the page's custom properties as colours. */
  readonly svg: string;
}

/** Panels that belong together. */
export interface Figure {
  readonly id: string;
  readonly caption: string;
  readonly legend: readonly LegendEntry[];
  readonly panels: readonly Panel[];
}

/** A figure, or why the runs do not allow it. */
export type FigureOrReason = Figure | { readonly id: string; readonly missing: string };

/** A table of the report, before it becomes HTML or Markdown. */

/** What stands in a cell: a figure, and what is said about it in smaller letters, a line each. */
export interface Cell {
  readonly text: string;
  readonly details: readonly string[];
}

/** Rows that belong together. */
export interface RowGroup {
  /** What they have in common; null where there is nothing to say. */
  readonly title: string | null;
  /** The first cell of each row is its head. */
  readonly rows: readonly (readonly Cell[])[];
}

/** A table. */
export interface Table {
  /** Its place in the document. */
  readonly id: string;
  readonly caption: string;
  readonly head: readonly string[];
  readonly groups: readonly RowGroup[];
}

/** Makes a cell. */
export function cell(text: string, details: readonly string[] = []): Cell {
  return { text, details };
}

/** The phases of a decoder, and what may follow at the boundaries between sections. */

import { type RamSectionKind, sectionTypes } from "./vocabulary.ts";

export type Phase =
  | "header"
  | "configuration"
  | "subsections"
  | "before-ram"
  | "block-total"
  | "block-list"
  | "pages"
  | "end-of-section"
  | "footer"
  | "between-parts"
  | "after-ram"
  | "device"
  | "done";

/** Which section types may follow at each boundary; others are refused. */
export const allowedAt: Readonly<Partial<Record<Phase, readonly number[]>>> = {
  subsections: [sectionTypes.subsection, sectionTypes.command, sectionTypes.start],
  "before-ram": [sectionTypes.command, sectionTypes.start],
  "between-parts": [sectionTypes.command, sectionTypes.part, sectionTypes.end],
  "after-ram": [sectionTypes.command, sectionTypes.full, sectionTypes.endOfFile],
};

/** The boundary after a section's footer. */
export const afterSection: Readonly<Record<RamSectionKind, Phase>> = {
  start: "between-parts",
  part: "between-parts",
  end: "after-ram",
};

/** Where a stream stops or goes wrong, for messages. */
export const placeOf: Readonly<Record<Phase, string>> = {
  header: "in its header",
  configuration: "in its machine type",
  subsections: "after its machine type",
  "before-ram": "before RAM",
  "block-total": "before the list of RAM blocks",
  "block-list": "in the list of RAM blocks",
  pages: "among RAM pages",
  "end-of-section": "before the end of a RAM section",
  footer: "in the footer of a RAM section",
  "between-parts": "between RAM sections",
  "after-ram": "after RAM",
  device: "in the device state, before a description of it is complete",
  done: "after its end",
};

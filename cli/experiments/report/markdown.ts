/** The report as Markdown: the tables, and what the figures of the HTML report say of themselves is left out. */

import type { ReportDocument } from "./document.ts";
import type { Cell, Table } from "./table.ts";

/** The text of the file. Headings begin at the second level but for the title. */
export function markdownOf({ title, facts, sections }: ReportDocument): string {
  const parts = [
    `# ${escapeText(title)}`,
    rows([["", ""], ...facts].map((row) => row.map(escapeText))),
    ...sections.flatMap((section) =>
      section.text.length + section.tables.length === 0
        ? []
        : [
            `## ${escapeText(section.title)}`,
            ...section.text.map(escapeText),
            ...section.tables.map(tableOf),
          ],
    ),
  ];
  return `${parts.join("\n\n")}\n`;
}

function tableOf({ caption, head, groups }: Table): string {
  const isGrouped = groups.some(({ title }) => title !== null);
  const lines = groups.flatMap((group) =>
    group.rows.map((cells) => [
      ...(isGrouped ? [escapeText(group.title ?? "")] : []),
      ...cells.map(cellText),
    ]),
  );
  const heads = [...(isGrouped ? ["Situation"] : []), ...head].map(escapeText);
  return `${escapeText(caption)}.\n\n${rows([heads, ...lines])}`;
}

function cellText({ text, details }: Cell): string {
  return escapeText(details.length === 0 ? text : `${text} (${details.join("; ")})`);
}

/** The first row is the head. */
function rows([head = [], ...others]: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  return [line(head), `|${head.map(() => "---").join("|")}|`, ...others.map(line)].join("\n");
}

/** Text that means nothing to Markdown. */
function escapeText(text: string): string {
  return text.replace(/\s+/g, " ").replace(/[\\`*_{}[\]<>|&]/g, (sign) => `\\${sign}`);
}

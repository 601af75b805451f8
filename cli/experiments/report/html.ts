/**
 * The report as one HTML file that opens from a disk. It has no scripts, and its policy forbids them and whatever is remote; the one style
 * that is allowed is known by its digest.
 */

import { createHash } from "node:crypto";
import type { ReportDocument, Section } from "./document.ts";
import type { Figure, FigureOrReason } from "./plots/figure.ts";
import type { Mark } from "./plots/marks.ts";
import { style } from "./style.ts";
import type { Cell, Table } from "./table.ts";

const policy = [
  "default-src 'none'",
  `style-src 'sha256-${createHash("sha256").update(style).digest("base64")}'`,
  "base-uri 'none'",
  "form-action 'none'",
].join("; ");

/** The text of the file. */
export function htmlOf({ title, facts, sections }: ReportDocument): string {
  const links = sections.map(
    (section, i) => `<li><a href="#section-${i + 1}">${text(section.title)}</a></li>`,
  );
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>${text(title)}</title>
<style>${style}</style>
</head>
<body>
<main>
<h1>${text(title)}</h1>
<dl class="facts">
${facts.map(([name, value]) => `<dt>${text(name)}</dt><dd>${text(value)}</dd>`).join("\n")}
</dl>
<nav aria-label="Sections"><ul>${links.join("")}</ul></nav>
${sections.map(sectionHtml).join("\n")}
</main>
</body>
</html>
`;
}

function sectionHtml({ title, text: paragraphs, figures, tables }: Section, index: number): string {
  return [
    `<section id="section-${index + 1}">`,
    `<h2>${text(title)}</h2>`,
    ...paragraphs.map((paragraph) => `<p>${text(paragraph)}</p>`),
    ...figures.map((figure) => figureHtml(figure, tables)),
    ...tables.map(tableHtml),
    "</section>",
  ].join("\n");
}

function figureHtml(figure: FigureOrReason, tables: readonly Table[]): string {
  if ("missing" in figure) return `<p class="missing" id="${figure.id}">${text(figure.missing)}</p>`;
  const { id, caption } = figure;
  const links = tables.map(
    (table) => `<a href="#${table.id}">${text(table.caption.split(/[:;.,]/)[0] ?? "")}</a>`,
  );
  return `<figure id="${id}">
<ul class="legend" aria-label="Legend">${figure.legend.map(({ name, mark }) => `<li>${markSvg(mark)}${text(name)}</li>`).join("")}</ul>
<div class="panels">
${panelsHtml(figure)}
</div>
<figcaption>${text(caption)} Figures: ${links.join(", ")}.</figcaption>
</figure>`;
}

function panelsHtml({ id, panels }: Figure): string {
  return panels
    .map(({ title, svg }, i) => {
      const head = `${id}-${i + 1}`;
      return `<div class="panel"><h3 id="${head}">${text(title)}</h3><div role="img" aria-labelledby="${head}">${svg}</div></div>`;
    })
    .join("\n");
}

function markSvg({ colour, path }: Mark): string {
  return `<svg viewBox="0 0 10 10" aria-hidden="true"><path d="${path}" fill="${colour}"/></svg>`;
}

function tableHtml({ id, caption, head, groups }: Table): string {
  const bodies = groups.map(({ title, rows }) => {
    const groupHead =
      title === null
        ? []
        : [`<tr><th scope="rowgroup" colspan="${head.length}"><span>${text(title)}</span></th></tr>`];
    return ["<tbody>", ...groupHead, ...rows.map(rowHtml), "</tbody>"].join("\n");
  });
  return `<div class="scroll" role="region" aria-labelledby="${id}-caption" tabindex="0">
<table id="${id}">
<caption id="${id}-caption"><span>${text(caption)}</span></caption>
<thead><tr>${head.map((name) => `<th scope="col">${text(name)}</th>`).join("")}</tr></thead>
${bodies.join("\n")}
</table>
</div>`;
}

function rowHtml([first, ...others]: readonly Cell[]): string {
  const headCell = first === undefined ? "" : `<th scope="row">${cellHtml(first)}</th>`;
  return `<tr>${headCell}${others.map((cell) => `<td>${cellHtml(cell)}</td>`).join("")}</tr>`;
}

function cellHtml({ text: main, details }: Cell): string {
  return text(main) + details.map((detail) => `<span>${text(detail)}</span>`).join("");
}

/** Text as HTML, in content and in attributes. */
function text(plain: string): string {
  const names: Record<string, string> = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&quot;",
    "'": "&#39;",
  };
  return plain.replace(/[&<>"']/g, (sign) => names[sign] ?? sign);
}

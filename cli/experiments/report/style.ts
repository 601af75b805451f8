/** The style of the HTML report. Light and dark follow the system; on paper it is light. */

import { colours } from "./plots/marks.ts";

const ground = {
  ground: ["#ffffff", "#141918"],
  text: ["#18211f", "#e6ecea"],
  quiet: ["#55625f", "#a3b0ad"],
  line: ["#d9dfdd", "#36413f"],
  head: ["#f1f4f3", "#1e2625"],
  band: ["#dfe9e6", "#243431"],
  accent: ["#0b625b", "#6fd3c8"],
} as const;

/** The rules. */
export const style = `
:root { color-scheme: light dark; ${values(0)} font: 16px / 1.5 system-ui, sans-serif; }
@media screen and (prefers-color-scheme: dark) { :root { ${values(1)} } }
* { box-sizing: border-box; }
body { margin: 0; padding: 2rem 1rem 4rem; background: var(--ground); color: var(--text); }
main { max-width: 76rem; margin: 0 auto; }
h1 { margin: 0 0 1rem; font-size: 1.6rem; line-height: 1.25; }
h2 { margin: 3rem 0 0.75rem; padding-top: 0.75rem; border-top: 1px solid var(--line); font-size: 1.25rem; }
p, figcaption { max-width: 46rem; margin: 0 0 1rem; }
a { color: var(--accent); }
a:focus-visible, .scroll:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.facts { display: grid; grid-template-columns: minmax(8rem, max-content) minmax(0, 1fr); gap: 0.25rem 1.25rem; margin: 0; }
.facts dt { color: var(--quiet); }
.facts dd { margin: 0; overflow-wrap: anywhere; }
nav ul { display: flex; flex-wrap: wrap; gap: 0.25rem 1.25rem; margin: 1.5rem 0 0; padding: 0; list-style: none; }
figure { margin: 0 0 2rem; }
figcaption { color: var(--quiet); font-size: 0.9rem; }
.legend { display: flex; flex-wrap: wrap; gap: 0.25rem 1.25rem; margin: 0 0 0.75rem; padding: 0; list-style: none; font-size: 0.9rem; }
.legend li { display: flex; align-items: center; gap: 0.4rem; }
.legend svg { width: 0.75rem; height: 0.75rem; flex: none; }
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 22rem), 1fr)); gap: 1.25rem 1.5rem; margin-bottom: 0.75rem; }
.panel { max-width: 32rem; }
.panel h3 { margin: 0 0 0.25rem; font-size: 0.95rem; font-weight: 600; }
.panel svg { display: block; width: 100%; height: auto; }
.panel text { font: 12px system-ui, sans-serif; }
.missing { color: var(--quiet); font-style: italic; }
.scroll { overflow-x: auto; margin: 0 0 2rem; }
table { border-collapse: collapse; font-size: 0.875rem; font-variant-numeric: tabular-nums; }
caption { padding: 0 0 0.5rem; text-align: left; font-weight: 600; }
th, td { padding: 0.35rem 0.9rem 0.35rem 0.6rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top; }
thead th { background: var(--head); vertical-align: bottom; }
th:first-child { text-align: left; }
tbody th { font-weight: 400; }
tbody th[scope="rowgroup"] { padding-top: 1rem; background: var(--ground); font-weight: 600; }
td span { display: block; color: var(--quiet); font-size: 0.8rem; }
td { white-space: nowrap; }
@media (max-width: 40rem) {
  .facts { grid-template-columns: minmax(0, 1fr); gap: 0; }
  .facts dd { margin-bottom: 0.5rem; }
  th, td { padding: 0.35rem 0.5rem; }
  tbody th[scope="row"] { min-width: 8rem; }
  caption > span, tbody th[scope="rowgroup"] > span { position: sticky; left: 0.5rem; display: inline-block; max-width: calc(100vw - 3rem); }
}
@media print {
  body { padding: 0; font-size: 11px; }
  nav { display: none; }
  .scroll { overflow: visible; }
  .panel, tr, .legend { break-inside: avoid; }
  h2, h3, caption, th[scope="rowgroup"] { break-after: avoid; }
  table { font-size: 9px; }
  td { white-space: normal; }
}
`.trim();

/** The custom properties: 0 for light, 1 for dark. */
function values(which: 0 | 1): string {
  return Object.entries({ ...ground, ...colours })
    .map(([name, both]) => `--${name}: ${both[which]};`)
    .join(" ");
}

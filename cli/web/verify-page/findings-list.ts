/** The table of findings, and the notes under it. */

import type { VerifyFinding, VerifyNote } from "../../../src/verify/report.ts";
import { counted, elementOf, make } from "./element.ts";

/** A table with more rows serves nobody; the others are counted. */
const maxRows = 500;

/** Shows findings as they come. */
export class FindingsList {
  private readonly section = elementOf("findings", HTMLElement);
  private readonly rows = elementOf("findings-rows", HTMLTableSectionElement);
  private readonly more = elementOf("findings-more", HTMLElement);
  private readonly notes = elementOf("notes", HTMLUListElement);
  private total = 0;

  get count(): number {
    return this.total;
  }

  clear(): void {
    this.total = 0;
    this.rows.replaceChildren();
    this.notes.replaceChildren();
    this.section.hidden = true;
    this.notes.hidden = true;
    this.more.hidden = true;
  }

  add(findings: readonly VerifyFinding[]): void {
    const room = Math.max(0, maxRows - this.total);
    this.total += findings.length;
    this.rows.append(...findings.slice(0, room).map(rowOf));
    this.section.hidden = this.total === 0;
    this.more.hidden = this.total <= maxRows;
    this.more.textContent = `${counted(this.total - maxRows, "more finding")}, not listed.`;
  }

  showNotes(notes: readonly VerifyNote[]): void {
    this.notes.replaceChildren(
      ...notes.map(({ path, note }) =>
        make("li", {}, path === "" ? "" : make("code", { text: path }), ` ${note}`),
      ),
    );
    this.notes.hidden = notes.length === 0;
  }
}

function rowOf({ path, offset, region, page, disk, block, problem }: VerifyFinding): HTMLTableRowElement {
  const place = disk ?? region;
  const number = disk === undefined ? page : block;
  return make(
    "tr",
    {},
    make("td", {}, make("code", { text: path })),
    make("td", { class: "number", text: offset?.toLocaleString("en") ?? "" }),
    make("td", { text: place ?? "" }),
    make("td", { class: "number", text: number?.toLocaleString("en") ?? "" }),
    make("td", { text: problem }),
  );
}

/** Findings about single pages: neighbours become one finding, and a rotten file does not give millions. */

import { pageBytes } from "../delta/vocabulary.ts";
import type { Geometry, PlacedRegion } from "../generation/geometry.ts";
import type { FindingLog } from "./report.ts";

/** Findings of one kind about one file; what exceeds this is counted. */
const maxFindings = 64;

/** Collects the pages of one file that have one problem. Give pages in ascending order, then call `end`. */
export class PageFindings {
  private readonly log: FindingLog;
  private readonly geometry: Geometry;
  private readonly about: { readonly path: string; readonly generation: number };
  private readonly problem: string;
  private readonly bytesPerPage: number;
  private first = 0;
  private count = 0;
  private reported = 0;
  private suppressedPages = 0;

  /** `bytesPerPage` turns a page into a position in the file; 0 if the file has none. */
  constructor(
    log: FindingLog,
    geometry: Geometry,
    about: { readonly path: string; readonly generation: number },
    problem: string,
    bytesPerPage: number = pageBytes,
  ) {
    this.log = log;
    this.geometry = geometry;
    this.about = about;
    this.problem = problem;
    this.bytesPerPage = bytesPerPage;
  }

  /** `page` counts over all regions. */
  add(page: number): void {
    const next = this.first + this.count;
    if (this.count > 0 && page === next && regionOf(this.geometry, page).firstPage !== page) {
      this.count++;
      return;
    }
    this.report();
    this.first = page;
    this.count = 1;
  }

  end(): void {
    this.report();
    if (this.suppressedPages === 0) return;
    const problem = `${this.problem}: ${this.suppressedPages} more pages, not listed one by one`;
    this.log.add({ ...this.about, problem });
  }

  private report(): void {
    const { first, count } = this;
    this.count = 0;
    if (count === 0) return;
    if (this.reported === maxFindings) {
      this.suppressedPages += count;
      return;
    }
    this.reported++;
    const region = regionOf(this.geometry, first);
    const page = first - region.firstPage;
    const offset = this.bytesPerPage === 0 ? {} : { offset: first * this.bytesPerPage };
    const problem = count === 1 ? this.problem : `${this.problem} (pages ${page} to ${page + count - 1})`;
    this.log.add({ ...this.about, region: region.name, page, ...offset, problem });
  }
}

/** The region that a page of the page space belongs to. */
function regionOf(geometry: Geometry, page: number): PlacedRegion {
  const found = geometry.regions.find(
    ({ firstPage, pages }) => page >= firstPage && page < firstPage + pages,
  );
  if (found === undefined) throw new RangeError(`page ${page} is in no region`);
  return found;
}

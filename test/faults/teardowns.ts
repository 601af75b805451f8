/** What tap's tests have for cleaning up, for programs that are no tests. */

import type { Teardown } from "../integration/rig.ts";

/** Work to be done at the end, the last registered first. */
export class Teardowns implements Teardown {
  private readonly works: (() => unknown)[] = [];

  teardown(work: () => unknown): void {
    this.works.push(work);
  }

  /** Does all of it, whatever fails on the way; the first failure is thrown then. */
  async run(): Promise<void> {
    const failures: unknown[] = [];
    for (let work = this.works.pop(); work !== undefined; work = this.works.pop()) {
      try {
        await work();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  }
}

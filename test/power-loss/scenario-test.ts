/** One scenario as a test: the product survives every power loss, and stores that do something wrong are found out. */

import type { Test } from "tap";
import { explore } from "./exploration.ts";
import { record } from "./recorder.ts";
import { sabotages } from "./sabotages.ts";

/** Records a scenario once, and checks it as it is and changed. */
export async function testScenario(t: Test, name: string): Promise<void> {
  const operations = await record(name);
  const { moments, states, violations } = await explore(operations, { samples: 2 });
  t.strictSame(violations, []);
  t.ok(moments > 10 && states > 10, `${states} states at ${moments} moments`);
  for (const { what, from = null, change, problem } of sabotages[name] ?? []) {
    const found = await explore(change(operations), { from, maxViolations: 1 });
    t.match(found.violations[0]?.problems.join("; "), problem, `the check sees that a store ${what}`);
  }
}

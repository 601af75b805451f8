/**
 * Runs one scenario; it is started under strace by `recorder.ts`.
 *
 *   scenario-child SCENARIO ROOT RUN MARKS
 */

import { openSync } from "node:fs";
import { scenarios } from "./scenarios.ts";
import { Stage } from "./stage.ts";

const [name, root, runPath, marks] = process.argv.slice(2);
await scenarios[name](await Stage.open(root, runPath, openSync(marks, "r+")));

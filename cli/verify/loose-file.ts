/** A manifest, or a file of frames, that was named by itself. */

import { basename } from "node:path";
import type { Core } from "../../src/core.ts";
import { checkLoose, looseKindOf } from "../../src/verify/loose-check.ts";
import { Pacing } from "../../src/verify/pacing.ts";
import { OperationError } from "../errors.ts";
import { orFinding } from "./damage.ts";
import { withFile } from "./file-window.ts";
import type { FindingLog } from "./report.ts";

/** Checks a file by itself. Throws OperationError "usage" if it is of no known kind. */
export async function checkLooseFile(core: Core, log: FindingLog, path: string): Promise<void> {
  const kind = await withFile(path, (file) => looseKindOf(basename(path), file));
  if (kind === null) {
    throw new OperationError(
      "usage",
      `Cannot verify ${path}: by itself only a manifest, a delta or a device file can be; name its generation's folder`,
    );
  }
  const pacing = new Pacing();
  await orFinding(log, { path }, () =>
    withFile(path, (file) => checkLoose(core, log, path, kind, file, () => pacing.turn())),
  );
}

/**
 * A migration that was cancelled in the instant in which QEMU went to pre-switchover. QEMU 7.2 lets go of its main lock before it
 * changes its state: a cancel in between finds `active`, so it does not wake the thread that waits for `migrate-continue`
 * a moment later. QEMU then stays in `cancelling` for ever, and the VM stopped. `migrate-continue` compares its argument with
 * the state as it is, whatever it is, so it can be told to go on from `cancelling`, which ends the migration as cancelled.
 * Where nobody waits it does nothing: QEMU forgets it when it waits the next time.
 */

import type { MigrationStatus } from "./migration-info.ts";
import type { QmpClient } from "./qmp-client.ts";
import { QmpError } from "./qmp-messages.ts";

/** A cancelled migration usually ends within milliseconds. */
const patienceMs = 500;

/** Looks at one migration's state again and again. */
export class StuckCancel {
  private readonly qmp: QmpClient;
  private since: number | null = null;

  constructor(qmp: QmpClient) {
    this.qmp = qmp;
  }

  /** Takes the state that QEMU tells; one that stays `cancelling` is freed. Throws QmpClosedError. */
  async seen(status: MigrationStatus): Promise<void> {
    if (status !== "cancelling") {
      this.since = null;
      return;
    }
    const now = Date.now();
    this.since ??= now;
    if (now - this.since < patienceMs) return;
    this.since = now;
    await this.qmp.execute("migrate-continue", { state: "cancelling" }).catch((error) => {
      // It has ended meanwhile.
      if (!(error instanceof QmpError)) throw error;
    });
  }
}

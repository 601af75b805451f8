/** A VM as its agent knows it: definition, process, and what is being done with it. */

import type { Core } from "../../src/core.ts";
import type { VmDefinition } from "../config/vm-definition.ts";
import { OperationError } from "../errors.ts";
import type { ProgressEvent } from "../leg/progress.ts";
import type { QemuProcess } from "../qemu/process.ts";
import { isRunning, type QmpClient } from "../qemu/qmp-client.ts";
import { QmpClosedError } from "../qemu/qmp-messages.ts";
import { VmStore } from "../store/vm-store.ts";

/** Where the VM's QEMU is: started by an agent, or attached. */
export type RunningQemu =
  | { readonly kind: "process"; readonly process: QemuProcess; readonly qmp: QmpClient }
  | { readonly kind: "attached"; readonly qmpPath: string; readonly qmp: QmpClient };

/** What an agent does with a VM at the moment; one thing at a time. */
export interface Activity {
  readonly what: string;
  state: string;
  progress: ProgressEvent | null;
  /** The leg out of this site that this is, as soon as it has begun. */
  leg: string | null;
  readonly cancel: AbortController;
}

/** One VM of an agent. */
export class ManagedVm {
  readonly name: string;
  readonly store: VmStore;
  /** Folder of sockets and logs. */
  readonly runPath: string;
  definition: VmDefinition;
  qemu: RunningQemu | null = null;
  activity: Activity | null = null;
  private housekeeping: Promise<void> = Promise.resolve();
  private houseWork = 0;
  private ownershipQueue: Promise<unknown> = Promise.resolve();

  constructor(core: Core, storePath: string, runPath: string, definition: VmDefinition) {
    this.name = definition.name;
    this.definition = definition;
    this.store = new VmStore(core, storePath, definition.name);
    this.runPath = runPath;
  }

  /** Does one thing with the VM. Throws OperationError if something else is being done with it. */
  async doing<T>(what: string, action: (activity: Activity) => Promise<T>): Promise<T> {
    if (this.activity) {
      throw new OperationError(
        "failed",
        `Cannot ${what} ${this.name} now: ${this.activity.what} is under way`,
      );
    }
    const activity: Activity = { what, state: "", progress: null, leg: null, cancel: new AbortController() };
    this.activity = activity;
    try {
      await this.housekeeping;
      return await action(activity);
    } finally {
      this.activity = null;
    }
  }

  /** Does something in the background unless the VM is busy; whatever else is asked for meanwhile waits for it. */
  async keepHouse(action: () => Promise<void>): Promise<void> {
    if (this.activity) return;
    const before = this.housekeeping;
    this.houseWork++;
    const work = before.then(action).finally(() => {
      this.houseWork--;
    });
    this.housekeeping = work.catch(() => {});
    await work;
  }

  /** True while something is done with the VM, in the background too. */
  get isBusy(): boolean {
    return this.activity !== null || this.houseWork > 0;
  }

  /** Runs changes of the ownership record one after the other. */
  exclusively<T>(action: () => Promise<T>): Promise<T> {
    const next = this.ownershipQueue.then(action, action);
    this.ownershipQueue = next.catch(() => {});
    return next;
  }

  /** True if the VM runs here now; a QEMU whose control connection has ended does not count. */
  async isRunningHere(): Promise<boolean> {
    if (this.qemu === null || this.qemu.qmp.isClosed) return false;
    return await isRunning(this.qemu.qmp).catch((error) => {
      if (error instanceof QmpClosedError) return false;
      throw error;
    });
  }

  /** The QEMU that runs here. Throws OperationError if there is none. */
  requireQemu(): RunningQemu {
    if (this.qemu) return this.qemu;
    throw new OperationError("failed", `Cannot do that: ${this.name} does not run here`);
  }

  /** Takes note of a QEMU, and of its end. */
  adopt(qemu: RunningQemu, onEnd: () => void): void {
    this.qemu = qemu;
    const ended = qemu.kind === "process" ? qemu.process.exited : qemu.qmp.closed;
    ended.then(() => {
      if (this.qemu !== qemu) return;
      this.qemu = null;
      onEnd();
    });
  }
}

/** Ends the VM's QEMU after a handover: this copy must never run again. */
export async function endQemu(vm: ManagedVm, qemu: RunningQemu): Promise<void> {
  if (qemu.kind === "process") await qemu.process.quit();
  else {
    await qemu.qmp.execute("quit").catch(() => {});
    qemu.qmp.close();
  }
  if (vm.qemu === qemu) vm.qemu = null;
}

/** A VM as its agent knows it: definition, process, and what is being done with it. */

import type { Core } from "../../src/core.ts";
import type { VmDefinition } from "../config/vm-definition.ts";
import { messageOf, OperationError } from "../errors.ts";
import type { ProgressEvent } from "../leg/progress.ts";
import { type GuestProcess, type LoadedGeneration, loadedGeneration } from "../leg/unwritten-pages.ts";
import { deferred } from "../qemu/deferred.ts";
import type { QemuProcess } from "../qemu/process.ts";
import { isRunning, type QmpClient } from "../qemu/qmp-client.ts";
import { QmpClosedError } from "../qemu/qmp-messages.ts";
import type { StoredGeneration } from "../store/generation-reader.ts";
import { VmStore } from "../store/vm-store.ts";
import type { Agent } from "./agent.ts";
import { Tracking } from "./tracking.ts";

/** Where the VM's QEMU is: started by an agent, or attached. */
export type RunningQemu =
  | {
      readonly kind: "process";
      readonly process: QemuProcess;
      readonly qmp: QmpClient;
      /** What it was loaded with, if this agent has loaded it. */
      readonly loaded: LoadedGeneration | null;
    }
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

/** The activity that takes a VM away. */
export const legActivity = "migrate";
/** The activity that brings a checkpoint or a seed of a VM that runs at another site. */
export const copyArrival = "receive copy";

/** One VM of an agent. */
export class ManagedVm {
  readonly name: string;
  readonly store: VmStore;
  /** Folder of sockets and logs. */
  readonly runPath: string;
  definition: VmDefinition;
  /** A migration that may be open while nothing is done with the VM. */
  readonly tracking = new Tracking();
  qemu: RunningQemu | null = null;
  activity: Activity | null = null;
  private activityEnd: Promise<void> = Promise.resolve();
  private housekeeping: Promise<void> = Promise.resolve();
  private houseWork = 0;
  private predictions: Promise<unknown> = Promise.resolve();
  private ownershipQueue: Promise<unknown> = Promise.resolve();

  constructor(core: Core, storePath: string, runPath: string, definition: VmDefinition) {
    this.name = definition.name;
    this.definition = definition;
    this.store = new VmStore(core, storePath, definition.name);
    this.runPath = runPath;
  }

  /** Does one thing with the VM. Throws OperationError if something else is being done with it. */
  async doing<T>(what: string, action: (activity: Activity) => Promise<T>): Promise<T> {
    // A VM that has arrived runs before its arrival is over; what is left of that takes a moment.
    while (this.activity?.state === "running") await this.activityEnd;
    if (this.activity) {
      throw new OperationError(
        "failed",
        `Cannot ${what} ${this.name} now: ${this.activity.what} is under way`,
      );
    }
    const activity: Activity = { what, state: "", progress: null, leg: null, cancel: new AbortController() };
    this.activity = activity;
    const end = deferred();
    this.activityEnd = end.promise;
    try {
      await this.housekeeping;
      // A leg may go on from it; for anything else it is in the way.
      if (what !== legActivity) await this.tracking.giveUp(what);
      return await action(activity);
    } finally {
      this.activity = null;
      end.resolve();
    }
  }

  /** Ends the arrival of a checkpoint or a seed, if one is under way: what it brings is not waited for. */
  async endArrivingCopy(): Promise<void> {
    while (this.activity?.what === copyArrival) {
      this.activity.cancel.abort();
      await this.activityEnd;
    }
  }

  /** Does something in the background unless the VM is busy; whatever else is asked for meanwhile waits for it. */
  async keepHouse(action: () => Promise<void>): Promise<void> {
    if (this.activity) return;
    const before = this.housekeeping;
    this.houseWork++;
    const work = before
      .then(() => this.tracking.giveUp("tidying"))
      .then(action)
      .finally(() => {
        this.houseWork--;
      });
    this.housekeeping = work.catch(() => {});
    await work;
  }

  /** True while something is done with the VM, in the background too. */
  get isBusy(): boolean {
    return this.isOccupied || this.tracking.isActive;
  }

  /** The same, but for a standing migration. */
  get isOccupied(): boolean {
    return this.activity !== null || this.houseWork > 0;
  }

  /** Looks at the VM for a prediction, one after the other: a leg waits for one that is under way. */
  predicting<T>(action: () => Promise<T>): Promise<T> {
    const next = this.predictions.then(action, action);
    this.predictions = next.catch(() => {});
    return next;
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
      this.tracking.end("its QEMU has ended").catch(() => {});
      this.qemu = null;
      onEnd();
    });
  }
}

/** The process that runs the VM; null if somebody else has started it. */
export function guestProcessOf(qemu: RunningQemu): GuestProcess | null {
  if (qemu.kind === "attached") return null;
  const { pid, startTime } = qemu.process;
  return { pid, startTime, loaded: qemu.loaded };
}

/** What a QEMU has that was just loaded with a generation; null, with a warning, if that cannot be read. */
export function loadedState(
  { core, log }: Pick<Agent, "core" | "log">,
  vm: ManagedVm,
  generation: StoredGeneration,
): LoadedGeneration | null {
  try {
    return loadedGeneration(core, generation);
  } catch (error) {
    log.warn({ vm: vm.name, reason: messageOf(error) }, "the next leg may have to read all of its base");
    return null;
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

/** Where a scenario acts: each of its steps ends with a mark in the trace that says what must be there from then on. */

import { writeSync } from "node:fs";
import { join } from "node:path";
import { VmKeys } from "../../cli/agent/vm-keys.ts";
import { FileOwnershipRegister, type OwnershipRecord } from "../../cli/store/ownership.ts";
import { ModelStore } from "../store/model-store.ts";
import { scenarioVm, takeSnapshot } from "./snapshot.ts";

/** The store of one site, in the watched folder. */
export class Stage {
  readonly root: string;
  /** Folder for sockets and processes, which is not watched. */
  readonly runPath: string;
  readonly model: ModelStore;
  readonly keys: VmKeys;
  readonly ownership: FileOwnershipRegister;
  private readonly marks: number;
  private isWatched = false;

  private constructor(root: string, runPath: string, marks: number, model: ModelStore) {
    this.root = root;
    this.runPath = runPath;
    this.marks = marks;
    this.model = model;
    this.keys = new VmKeys(`${model.storePath}.keys`);
    this.ownership = new FileOwnershipRegister(model.storePath);
  }

  /** `marks`: descriptor of the file for marks. */
  static async open(root: string, runPath: string, marks: number): Promise<Stage> {
    return new Stage(root, runPath, marks, await ModelStore.open(root, scenarioVm));
  }

  get storePath(): string {
    return join(this.root, "store");
  }

  /** Does one thing. From `begin` on, the power may fail at any moment of it. */
  async step<T>(name: string, action: () => Promise<T>): Promise<T> {
    const result = await action();
    if (this.isWatched) await this.mark(name);
    return result;
  }

  /** What was done so far was only to get here. */
  async begin(): Promise<void> {
    this.isWatched = true;
    await this.mark("the beginning");
  }

  /** Makes the key, the folders and a record of ownership, as for a VM that has been here for long. */
  async settle(): Promise<void> {
    await this.keys.accept(scenarioVm, this.model.key);
    await this.model.store.prepare();
    await this.own("owned", 1, 0);
  }

  /** Replaces the record of ownership. */
  async own(state: OwnershipRecord["state"], epoch: number, generation: number): Promise<void> {
    const record = await this.ownership.read(scenarioVm);
    await this.ownership.write({ ...record, state, epoch, generation, peer: "b" });
  }

  private async mark(step: string): Promise<void> {
    writeSync(this.marks, `${JSON.stringify(await takeSnapshot(step, this.root, this.model.store))}\n`);
  }
}

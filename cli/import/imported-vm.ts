/** The VM that a stream is imported into: its definition, and its digest key. */

import { existsSync } from "node:fs";
import { readFile, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import type { Core } from "../../src/core.ts";
import { VmKeys } from "../agent/vm-keys.ts";
import { checkDefinition } from "../agent/vm-launch.ts";
import type { SiteConfig } from "../config/site-config.ts";
import { formatDefinition, parseDefinition, type VmDefinition } from "../config/vm-definition.ts";
import { messageOf, OperationError } from "../errors.ts";
import { writeFileAtomically } from "../store/atomic-file.ts";
import { isValidName, nameRule } from "../store/vm-name.ts";
import { VmStore } from "../store/vm-store.ts";
import { readDigestKey } from "../verify/digest-key.ts";

/** What the operator names. */
export interface ImportTarget {
  readonly storePath: string;
  readonly vm: string;
  /** A definition to define the VM by; null: it is defined in the store. */
  readonly definitionPath: string | null;
  /** File of the digest key; null: beside the store. */
  readonly keyPath: string | null;
}

/** The QEMU that a definition is checked against, as an agent without settings of its own would use it. */
const plainQemu: SiteConfig["qemu"] = { binary: "qemu-system-x86_64", args: [], sandbox: "auto" };

/** A VM that is there, or about to be. */
export class ImportedVm {
  readonly definition: VmDefinition;
  readonly key: Uint8Array;
  readonly store: VmStore;
  private readonly isNew: boolean;
  private readonly keyIsNew: boolean;
  private readonly keys: VmKeys;

  private constructor(
    store: VmStore,
    definition: VmDefinition,
    keys: VmKeys,
    given: { key: Uint8Array; isNew: boolean; keyIsNew: boolean },
  ) {
    this.store = store;
    this.definition = definition;
    this.keys = keys;
    this.key = given.key;
    this.isNew = given.isNew;
    this.keyIsNew = given.keyIsNew;
  }

  /** Finds the VM, or checks what it is to be defined by. Throws OperationError. The store must be locked. */
  static async find(core: Core, target: ImportTarget): Promise<ImportedVm> {
    const { storePath, vm: name, definitionPath, keyPath } = target;
    const store = new VmStore(core, storePath, name);
    const known = await knownDefinition(storePath, name);
    const given = definitionPath === null ? null : await givenDefinition(definitionPath, name);
    const definition = given ?? known;
    if (definition === null) throw notDefined(storePath, name);
    if (known !== null && given !== null && formatDefinition(known) !== formatDefinition(given)) {
      throw new OperationError(
        "usage",
        `Cannot import into ${name}: it is defined already, and differently; leave --definition out, or change it with 'bfmig define'`,
      );
    }
    if (definition.disks.length > 0) {
      const disks = definition.disks.map(({ id }) => id).join(", ");
      throw new OperationError(
        "refused",
        `Cannot import into ${name}: it has disks (${disks}), and a migration stream has none: memory and disks would ` +
          "not be of the same moment; move the running VM with 'bfmig attach' and 'bfmig migrate' instead",
      );
    }
    const keys = new VmKeys(`${storePath}.keys`);
    if (keyPath !== null || known !== null) {
      const key = await readDigestKey(
        `Cannot import into ${name}`,
        name,
        storePath,
        keyPath === null ? [] : [keyPath],
      );
      return new ImportedVm(store, definition, keys, { key, isNew: known === null, keyIsNew: false });
    }
    const keyIsNew = (await keys.read(name)) === null;
    const key = await keys.readOrMake(name);
    return new ImportedVm(store, definition, keys, { key, isNew: true, keyIsNew });
  }

  /** Defines the VM durably if it is new. */
  async define(): Promise<void> {
    if (!this.isNew) return;
    await writeFileAtomically(join(this.store.path, "vm.yaml"), formatDefinition(this.definition));
  }

  /** Takes back what was made for a VM that did not come to be. */
  async forget(): Promise<void> {
    if (!this.isNew || existsSync(join(this.store.path, "vm.yaml"))) return;
    await rm(this.store.path, { recursive: true, force: true });
    if (this.keyIsNew) await this.keys.remove(this.store.vm);
  }
}

/** Throws OperationError unless the VM is defined in the store, or a definition is given: before anything is made. */
export function checkTarget({ storePath, vm, definitionPath }: ImportTarget): void {
  if (!isValidName(vm)) {
    throw new OperationError(
      "usage",
      `Cannot import into ${JSON.stringify(vm.slice(0, 80))}: names have ${nameRule}`,
    );
  }
  if (definitionPath === null && !existsSync(join(storePath, vm, "vm.yaml"))) throw notDefined(storePath, vm);
}

async function knownDefinition(storePath: string, vm: string): Promise<VmDefinition | null> {
  const path = join(storePath, vm, "vm.yaml");
  const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return null;
    throw error;
  });
  return text === null ? null : parseDefinition(text, path);
}

/** The same checks as `bfmig define` makes. */
async function givenDefinition(path: string, vm: string): Promise<VmDefinition> {
  const text = await readFile(path, "utf8").catch((error: unknown) => {
    throw new OperationError("usage", `Cannot read ${path}: ${messageOf(error)}`);
  });
  const definition = parseDefinition(text, path);
  if (definition.name !== vm) {
    throw new OperationError(
      "usage",
      `Cannot import into ${vm}: ${basename(path)} defines ${definition.name}`,
    );
  }
  await checkDefinition({ qemu: plainQemu }, definition);
  return definition;
}

function notDefined(storePath: string, vm: string): OperationError {
  return new OperationError(
    "usage",
    `Cannot import into ${vm}: it is not defined in ${storePath}; define it with --definition FILE`,
  );
}

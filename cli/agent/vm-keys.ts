/** The VMs' digest keys: one file each, apart from the store, so that who can alter a store cannot forge digests. */

import { randomBytes } from "node:crypto";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { fromHex, toHex } from "../../src/bytes.ts";
import { OperationError } from "../errors.ts";
import { writeFileAtomically } from "../store/atomic-file.ts";
import { makeFolder, removePartials } from "../store/folder.ts";

/** Keys in one folder. */
export class VmKeys {
  private readonly folder: string;

  constructor(folder: string) {
    this.folder = folder;
  }

  /** The key of a VM, or null if there is none. Throws OperationError if the file is damaged. */
  async read(vm: string): Promise<Uint8Array | null> {
    const path = this.pathOf(vm);
    let text: string;
    try {
      text = (await readFile(path, "utf8")).trim();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
      throw error;
    }
    if (!/^[0-9a-f]{64}$/.test(text)) {
      throw new OperationError("failed", `Cannot use ${path}: a key has 64 hexadecimal digits`);
    }
    return fromHex(text);
  }

  /** The key of a VM; a new one is made if there is none. */
  async readOrMake(vm: string): Promise<Uint8Array> {
    const known = await this.read(vm);
    if (known) return known;
    const key = new Uint8Array(randomBytes(32));
    await this.write(vm, key);
    return key;
  }

  /** Takes the key that a peer sent. Throws OperationError "refused" if another key is known here. */
  async accept(vm: string, key: Uint8Array): Promise<void> {
    const known = await this.read(vm);
    if (known === null) await this.write(vm, key);
    else if (toHex(known) !== toHex(key)) {
      throw new OperationError(
        "refused",
        `Cannot take ${vm}: its digest key here is another one; it is another VM`,
      );
    }
  }

  /** Forgets a key. */
  async remove(vm: string): Promise<void> {
    await rm(this.pathOf(vm), { force: true });
  }

  /** Removes keys whose writing was interrupted. Returns their number. Only while nothing writes keys. */
  async sweep(): Promise<number> {
    return await removePartials(this.folder);
  }

  private async write(vm: string, key: Uint8Array): Promise<void> {
    await makeFolder(this.folder);
    await writeFileAtomically(this.pathOf(vm), `${toHex(key)}\n`);
  }

  private pathOf(vm: string): string {
    return join(this.folder, `${vm}.key`);
  }
}

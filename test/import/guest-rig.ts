/** A small guest under real QEMU that fills its memory, and the definition that describes it. */

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { bootImage } from "../../cli/demo/guest.ts";
import { GuestConsole } from "../../cli/demo/guest-console.ts";
import { MEMORY_BYTES, Qemu } from "../qemu-stream/qemu.ts";

const MiB = 1 << 20;
const machine = "pc-i440fx-7.2";

/** A folder with what QEMU and the import need. */
export class GuestRig {
  readonly folder: string;
  readonly definitionPath: string;
  private readonly floppy: string[];

  constructor(folder: string) {
    this.folder = folder;
    const image = join(folder, "guest.img");
    writeFileSync(
      image,
      bootImage({ fillBytes: 8 * MiB, workingSetBytes: MiB, dirtyPagesPerTick: 1, seed: 7 }),
    );
    this.floppy = ["-drive", `file=${image},format=raw,if=floppy,readonly=on`];
    this.definitionPath = join(folder, "web1.yaml");
    writeFileSync(this.definitionPath, this.definition());
  }

  /** The definition in YAML; `more` is added to it. */
  definition(more = ""): string {
    const args = JSON.stringify([...this.floppy, "-nic", "none"]);
    return `name: web1\nmemory: ${MEMORY_BYTES / 1024}KiB\nmachine: ${machine}\naccel: [tcg]\nargs: ${args}\n${more}`;
  }

  /** Starts the guest, or a QEMU that waits for a stream. */
  async start(name: string, ...more: string[]): Promise<Qemu> {
    const serial = ["-serial", `unix:${this.folder}/${name}.serial,server=on,wait=off`];
    return await Qemu.start(this.folder, name, machine, [...this.floppy, ...serial, ...more]);
  }

  /** Resolves when the guest has filled its memory. */
  async ready(name: string): Promise<void> {
    const guest = await GuestConsole.connect(`${this.folder}/${name}.serial`);
    try {
      await guest.ready();
    } finally {
      guest.close();
    }
  }

  /** Saves the guest to a file as an operator does; it stands still then. Returns the file's path. */
  async save(qemu: Qemu, file: string): Promise<string> {
    const path = join(this.folder, file);
    await qemu.execute("migrate-set-parameters", { "max-bandwidth": 10_000_000_000 });
    await qemu.execute("migrate", { uri: `exec:cat > ${path}` });
    await qemu.migrationStatus("completed");
    return path;
  }
}

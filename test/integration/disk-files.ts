/** The files that a test's disks begin with, and their twins. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runQemuImg, runQemuIo } from "./disk-tools.ts";
import type { Teardown } from "./rig.ts";

/** A disk of the guest. */
export interface TestDisk {
  readonly id: string;
  /** A multiple of 512. */
  readonly lengthBytes: number;
  /** `virtio-blk` by default. */
  readonly bus?: "virtio-blk" | "virtio-scsi";
  /** `template`: qcow2 over a raw file that has what `initial` writes. `qcow2` by default. */
  readonly kind?: "qcow2" | "raw" | "template";
  /** qemu-io's commands that make the content before the VM starts. */
  readonly initial?: readonly string[];
  /** Further fields of the definition. */
  readonly fields?: Readonly<Record<string, unknown>>;
}

/** Makes the files in a new folder, which is removed after the test. Returns its path. */
export async function makeDisks(test: Teardown, disks: readonly TestDisk[]): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "bfmig-disks-"));
  test.teardown(() => rm(folder, { recursive: true, force: true }));
  for (const { id, lengthBytes, kind = "qcow2", initial = [] } of disks) {
    const path = join(folder, `${id}.img`);
    const template = join(folder, `${id}.template`);
    const twin = join(folder, `${id}.twin`);
    const first = kind === "template" ? template : path;
    const format = kind === "qcow2" ? "qcow2" : "raw";
    await runQemuImg(["create", "-q", "-f", format, first, String(lengthBytes)]);
    await runQemuImg(["create", "-q", "-f", "raw", twin, String(lengthBytes)]);
    for (const command of initial) {
      await runQemuIo(["-f", format, "-c", command, first]);
      await runQemuIo(["-f", "raw", "-c", command, twin]);
    }
    if (kind === "template") {
      await runQemuImg(["create", "-q", "-f", "qcow2", "-b", template, "-F", "raw", path]);
    }
  }
  return folder;
}

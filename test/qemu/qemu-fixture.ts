/** Real QEMU processes for tests: a guest of nothing but its firmware, under TCG, in a folder of its own. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type QemuSpec, qemuArguments } from "../../cli/qemu/arguments.ts";
import { launchQemu, type QemuProcess, qmpSocketPath } from "../../cli/qemu/process.ts";
import { testMachine, testQemu } from "./test-qemu.ts";

/** The QEMU of these tests. */
export const QEMU_BINARY = testQemu;

/** Not a multiple of 256 KiB: QEMU 7.2 under TCG would lose guest writes by itself. */
export const MEMORY_BYTES = 65528 * 1024;

/** What tests need of tap. */
export interface Teardown {
  teardown(work: () => unknown): void;
}

/** A new private folder with a short path, removed after the test. */
export async function temporaryFolder(test: Teardown): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "bfmig-"));
  test.teardown(() => rm(folder, { recursive: true, force: true, maxRetries: 5 }));
  return folder;
}

/** The arguments of the test guest, to be changed in parts. */
export function testArguments(runDir: string, changes: Partial<QemuSpec> = {}): string[] {
  return qemuArguments({
    name: "test",
    machine: testMachine,
    cpu: "qemu64",
    accel: ["tcg"],
    memoryBytes: MEMORY_BYTES,
    memory: { kind: "ram" },
    qmpPath: qmpSocketPath(runDir),
    incoming: false,
    paused: false,
    extra: ["-net", "none"],
    ...changes,
  });
}

/** Starts the test guest; it is killed after the test. */
export async function launchTestQemu(test: Teardown, changes: Partial<QemuSpec> = {}): Promise<QemuProcess> {
  const runDir = await temporaryFolder(test);
  const qemu = await launchQemu(QEMU_BINARY, testArguments(runDir, changes), { runDir, name: "test" });
  test.teardown(() => qemu.kill());
  return qemu;
}

import { spawnSync } from "node:child_process";
import { join } from "node:path";
import t from "tap";
import { projectRoot } from "./project-files.ts";

function testAll(args: readonly string[], path = process.env["PATH"]) {
  const script = join(projectRoot, ".ci", "test-all.mjs");
  const env = { ...process.env, PATH: path };
  return spawnSync(process.execPath, [script, ...args], { encoding: "utf8", env });
}

/** A QEMU that only says its version. */
function qemuOf(version: string): { "qemu-system-x86_64": string } {
  return { "qemu-system-x86_64": `#!/bin/sh\necho "QEMU emulator version ${version} (Debian)"\n` };
}

t.test("a configuration that there is not is refused, with those that there are", async (t) => {
  const { status, stdout, stderr } = testAll(["--only", "10.0/pc", "--only", "9.0/pc"]);
  t.equal(status, 1);
  t.equal(stdout, "");
  t.equal(
    stderr,
    "test-all: Write one of 7.2/pc, 7.2/q35, 10.0/pc, 10.0/q35, versions after --only: there is no 9.0/pc\n",
  );
});

t.test("nothing is tested where the system's QEMU is not the older one", async (t) => {
  const missing = testAll([], t.testdir({}));
  t.equal(missing.status, 1);
  t.equal(
    missing.stderr,
    "test-all: Use a system with QEMU 7.2 for all tests: qemu-system-x86_64 is missing\n",
  );
  const folder = t.testdir(qemuOf("10.0.2"));
  spawnSync("chmod", ["+x", join(folder, "qemu-system-x86_64")]);
  const newer = testAll([], folder);
  t.equal(newer.status, 1);
  t.equal(newer.stdout, "");
  t.match(newer.stderr, /: qemu-system-x86_64 is 10\.0\n$/);
});

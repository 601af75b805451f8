import { chmod, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import t from "tap";
import {
  decodeCpuHelp,
  decodeMachineHelp,
  decodeVersionText,
  lostWriteRisk,
  probeQemu,
  usableAccelerators,
} from "../../cli/qemu/probe.ts";
import { QEMU_BINARY, temporaryFolder } from "./qemu-fixture.ts";

t.test("the installed QEMU says what it is", async (t) => {
  const probe = await probeQemu(QEMU_BINARY);
  t.ok(probe.version[0] >= 7);
  t.match(probe.versionText, /^QEMU emulator version /);
  t.equal(probe.memoryBackendRom, probe.version[0] >= 9, "the property came after 8.1");
  for (const machine of ["pc-i440fx-7.2", "pc-q35-7.2", "microvm"])
    t.ok(probe.machines.includes(machine), machine);
  for (const model of ["qemu64", "Skylake-Client"]) t.ok(probe.cpuModels.includes(model), model);
  t.notOk(probe.cpuModels.includes("aes"), "a flag is no model");
  t.equal(await probeQemu(QEMU_BINARY), probe, "it is asked once");
  t.equal(await probeQemu(probe.path), probe);
});

t.test("a binary is asked again when it changes, and a failure is not remembered", async (t) => {
  const path = join(await temporaryFolder(t), "qemu");
  const fake = async (text: string, mtime: number) => {
    await writeFile(path, `#!/bin/sh\n${text}\n`);
    await chmod(path, 0o755);
    await utimes(path, mtime, mtime);
  };
  await fake("exit 3", 1000);
  await t.rejects(probeQemu(path), { name: "OperationError", message: /^Cannot run / });
  await fake("echo hello", 1000);
  await t.rejects(probeQemu(path), { message: /its -version is not QEMU's/ });
  await fake("echo QEMU emulator version 8.1.5", 1000);
  t.match(await probeQemu(path), { version: [8, 1, 5], memoryBackendRom: false });
  await fake("echo QEMU emulator version 10.0.2; echo '  rom=<OnOffAuto>'", 2000);
  t.match(await probeQemu(path), { version: [10, 0, 2], memoryBackendRom: true });
});

t.test("a missing QEMU is reported with the packages to install", async (t) => {
  for (const binary of ["no-such-qemu", "/nonexistent/qemu", "/"]) {
    await t.rejects(probeQemu(binary), {
      name: "OperationError",
      message: /Debian .*qemu-system-x86;.*qemu-system-x86-core;.*Arch: qemu-system-x86;.*Homebrew: qemu\)/,
    });
  }
});

t.test("versions are decoded as distributions write them", async (t) => {
  t.same(decodeVersionText("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)"), [7, 2, 22]);
  t.same(decodeVersionText("QEMU emulator version 9.0"), [9, 0, 0]);
  t.equal(decodeVersionText("qemu-img version 7.2.0"), null);
  t.equal(decodeVersionText(""), null);
});

t.test("machine types and CPU models are found in QEMU's help, old and new", async (t) => {
  const machines =
    "Supported machines are:\npc   Standard PC (alias of pc-i440fx-7.2)\npc-i440fx-7.2        Standard PC\n";
  t.strictSame(decodeMachineHelp(machines), ["pc", "pc-i440fx-7.2"]);
  const flags = "\n\nRecognized CPUID flags:\n  3dnow aes\n";
  t.strictSame(decodeCpuHelp(`Available CPUs:\nx86 486   (alias)\nx86 qemu64  \n${flags}`), [
    "486",
    "qemu64",
  ]);
  t.strictSame(decodeCpuHelp(`Available CPUs:\n  486   (alias)\n  max   Enables all\n${flags}`), [
    "486",
    "max",
  ]);
  t.strictSame(decodeCpuHelp(""), []);
});

t.test("lost guest writes are warned of exactly where they happen", async (t) => {
  const vm = { version: [7, 2, 22], accel: "tcg", memoryBytes: 1024 ** 3 } as const;
  t.match(lostWriteRisk(vm), /7\.2\.22 with tcg can lose guest writes.*use 1048568KiB/);
  t.match(lostWriteRisk({ ...vm, version: [8, 2, 1] }), /lose/);
  t.equal(lostWriteRisk({ ...vm, version: [8, 2, 2] }), null);
  t.equal(lostWriteRisk({ ...vm, version: [9, 0, 0] }), null);
  t.equal(lostWriteRisk({ ...vm, version: [10, 0, 0] }), null);
  t.equal(lostWriteRisk({ ...vm, accel: "kvm" }), null);
  t.equal(lostWriteRisk({ ...vm, memoryBytes: 1024 ** 3 - 8192 }), null);
});

t.test("accelerators other than kvm are always kept", async (t) => {
  t.same(await usableAccelerators(["tcg"]), ["tcg"]);
  t.equal((await usableAccelerators(["kvm", "tcg"])).at(-1), "tcg");
});

/** A guest saved by QEMU, imported, verified, exported, and run again by QEMU. */

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { diffCommand } from "../../cli/commands/diff.ts";
import { exportCommand } from "../../cli/commands/export.ts";
import { importCommand } from "../../cli/commands/import.ts";
import { inspectCommand } from "../../cli/commands/inspect.ts";
import { verifyCommand } from "../../cli/commands/verify.ts";
import type { StreamSummary } from "../../cli/inspect/qemu-stream.ts";
import { readFileRange } from "../integration/disk-tools.ts";
import { MEMORY_BYTES } from "../qemu-stream/qemu.ts";
import { runInTest } from "../verify/command-output.ts";
import { GuestRig } from "./guest-rig.ts";

t.setTimeout(170_000);

const page = 4096;
/** Guest-physical addresses where the machine shows something else than RAM: VGA, and ROMs over RAM. */
const [notRamFrom, notRamTo] = [0xa0000, 0x100000];

t.test("what QEMU saved is imported, verified, exported and runs again", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "bfmig-"));
  t.teardown(() => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }));
  const rig = new GuestRig(folder);
  const store = join(folder, "store");
  const first = await rig.start("first");
  t.teardown(() => first.stop());
  await rig.ready("first");
  const saved = await rig.save(first, "saved.stream");
  await first.saveMemory(join(folder, "memory.1"));
  await first.stop();
  const memory = readFileSync(join(folder, "memory.1"));

  const inspected = await runInTest(t, inspectCommand(), "--json", saved);
  const found = JSON.parse(inspected.lines[0]) as StreamSummary;
  t.equal(inspected.code, 0, inspected.diagnostics);
  t.equal(found.deviceProblem, null, "every device fits QEMU's description");
  const cpu = found.devices.find(({ name }) => name === "cpu");
  t.ok((cpu?.fields.length ?? 0) > 100, "the processor has its registers");
  t.equal(cpu?.fields.find(({ path }) => path === "env.eip")?.bytes, 8);
  t.equal(
    found.devices.reduce((sum, { bytes }) => sum + bytes, 1),
    found.deviceStateBytes,
    "the devices make up the state",
  );
  for (const { id, missing, distinct, zero, whole, again } of found.blocks) {
    t.strictSame([missing, again], [0, zero + whole - distinct], `all pages of ${id} are in it`);
  }

  const imported = await runInTest(
    t,
    importCommand(),
    ...["--json", "--store", store, "--vm", "web1", "--definition", rig.definitionPath, saved],
  );
  t.equal(imported.code, 0, imported.diagnostics);
  t.match(JSON.parse(imported.lines[0]), { event: "done", vm: "web1", generation: 1, accelerator: "tcg" });
  const verified = await runInTest(t, verifyCommand(), store);
  t.strictSame(verified.lines.slice(-1), ["1 generation verified, no findings"]);

  const raw = join(folder, "raw");
  const written = await runInTest(t, exportCommand(), "web1", "--store", store, "--out", raw);
  t.equal(written.code, 0, written.diagnostics);
  const ram = readFileSync(join(raw, "ram-0-pc.ram.raw"));
  t.equal(ram.length, MEMORY_BYTES);
  t.ok(ram.subarray(0, notRamFrom).equals(memory.subarray(0, notRamFrom)), "low memory is the guest's");
  t.ok(ram.subarray(notRamTo).equals(memory.subarray(notRamTo)), "and so is the rest");

  const out = join(folder, "out");
  await runInTest(t, exportCommand(), "web1", "--store", store, "--format", "stream", "--out", out);
  const stream = join(out, "migration.stream");
  const second = await rig.start("second", "-S", "-incoming", `exec:cat ${stream}`);
  t.teardown(() => second.stop());
  await second.migrationStatus("completed");
  await second.saveMemory(join(folder, "memory.2"));
  t.ok(readFileSync(join(folder, "memory.2")).equals(memory), "QEMU has loaded the same memory");
  const counterBefore = await readFileRange(join(folder, "memory.2"), 0x10000, 4);
  await second.execute("cont");
  await rig.ready("second");
  const savedAgain = await rig.save(second, "again.stream");
  await second.saveMemory(join(folder, "memory.3"));
  await second.stop();
  const counterAfter = await readFileRange(join(folder, "memory.3"), 0x10000, 4);
  t.ok(counterAfter.readUInt32LE() > counterBefore.readUInt32LE(), "the guest went on from there");

  const again = await runInTest(t, importCommand(), "--store", store, "--vm", "web1", savedAgain);
  t.match(again.lines[0], /^imported generation 2 of web1/);
  const raw2 = join(folder, "raw2");
  await runInTest(t, exportCommand(), join(store, "web1", "generations", "2"), "--out", raw2);
  const ram2 = readFileSync(join(raw2, "ram-0-pc.ram.raw"));
  const changed = new Set<number>();
  for (let at = 0; at < ram.length; at += page) {
    if (!ram.subarray(at, at + page).equals(ram2.subarray(at, at + page))) changed.add(at / page);
  }
  t.ok(changed.size > 0);
  for (const more of [[], ["--contents"]]) {
    const { lines } = await runInTest(
      t,
      diffCommand(),
      ...["1", "2", "--store", store, "--vm", "web1", "--ranges", "--json", ...more],
    );
    const told = new Set<number>();
    for (const { event, name, first, count } of lines.map((line) => JSON.parse(line))) {
      if (event === "range" && name === "pc.ram") for (let i = 0; i < count; i++) told.add(first + i);
    }
    t.strictSame([...told], [...changed], `diff tells the pages that differ ${more}`);
  }
});

import { spawn } from "node:child_process";
import { once } from "node:events";
import { access, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import t from "tap";
import { adoptQemu, launchQemu, type QemuProcess, qmpSocketPath } from "../../cli/qemu/process.ts";
import { processStartTime } from "../../cli/qemu/process-identity.ts";
import { decodeRecord, findRecord, writeRecord } from "../../cli/qemu/process-record.ts";
import { isRunning } from "../../cli/qemu/qmp-client.ts";
import {
  launchTestQemu,
  QEMU_BINARY,
  type Teardown,
  temporaryFolder,
  testArguments,
} from "./qemu-fixture.ts";

/** The compiled module where tests are compiled, the source where they are not. */
const PROCESS_MODULE = new URL(
  `../../cli/qemu/process${import.meta.url.endsWith(".ts") ? ".ts" : ".js"}`,
  import.meta.url,
);

/** Launches QEMU in a Node process of its own, which ends without a word to QEMU. */
async function launchAndDie(runDir: string): Promise<void> {
  const script = join(runDir, "launcher.mjs");
  const options = JSON.stringify({ runDir, name: "orphan" });
  await writeFile(
    script,
    `import { launchQemu } from ${JSON.stringify(PROCESS_MODULE.href)};
    await launchQemu(${JSON.stringify(QEMU_BINARY)}, ${JSON.stringify(testArguments(runDir))}, ${options});
    process.kill(process.pid, "SIGKILL");`,
  );
  const launcher = spawn(process.execPath, [...process.execArgv, script], { stdio: "inherit" });
  const [, signal] = await once(launcher, "exit");
  if (signal !== "SIGKILL") throw new Error("the launcher failed");
}

async function adoptOrphan(test: Teardown, runDir: string): Promise<QemuProcess> {
  await launchAndDie(runDir);
  test.teardown(async () => {
    const left = await findRecord(runDir);
    if (left !== null) process.kill(left.pid, "SIGKILL");
  });
  const qemu = await adoptQemu(runDir);
  if (qemu === null) throw new Error("there is nothing to adopt");
  return qemu;
}

t.test("QEMU is launched with a record, in a folder for us alone, and quits", async (t) => {
  const qemu = await launchTestQemu(t);
  const record = await findRecord(qemu.runDir);
  t.match(record, { pid: qemu.pid, startTime: qemu.startTime, name: "test", binary: QEMU_BINARY });
  t.equal((await stat(qemu.runDir)).mode & 0o777, 0o700);
  t.equal((await stat(join(qemu.runDir, "qemu.json"))).mode & 0o777, 0o600);
  t.equal(await isRunning(qemu.qmp), true);
  t.same(await qemu.quit(), { code: 0, signal: null });
  t.equal(await processStartTime(qemu.pid), null);
  t.equal(await adoptQemu(qemu.runDir), null);
  t.same(await qemu.quit(), { code: 0, signal: null }, "a second quit finds it gone");
});

t.test("a QEMU that ends at once is reported with the end of its log", async (t) => {
  const runDir = await temporaryFolder(t);
  const args = testArguments(runDir, { extra: ["-device", "no-such-device"] });
  await t.rejects(launchQemu(QEMU_BINARY, args, { runDir, name: "bad" }), {
    name: "OperationError",
    message: /^Cannot launch QEMU for bad: it ended with code 1; .*no-such-device/s,
  });
  t.equal(await adoptQemu(runDir), null);
});

t.test("what a guest has written to the log does not steer the terminal that shows it", async (t) => {
  const runDir = await temporaryFolder(t);
  const binary = join(runDir, "qemu-like");
  await writeFile(binary, "#!/bin/sh\nprintf '\\033[2Jfirst\\r\\n\\tsecond\\302\\233x'\nexit 1\n", {
    mode: 0o755,
  });
  await t.rejects(launchQemu(binary, [], { runDir, name: "bad" }), {
    message: "Cannot launch QEMU for bad: it ended with code 1; [2Jfirst\n\tsecondx",
  });
});

t.test("a QEMU whose QMP never answers is killed and reported", async (t) => {
  const runDir = await temporaryFolder(t);
  const launching = launchQemu(QEMU_BINARY, ["-machine", "none", "-display", "none"], {
    runDir,
    name: "mute",
    timeoutMs: 200,
  });
  await t.rejects(launching, {
    message: /^Cannot launch QEMU for mute: its QMP did not answer within 200 ms/,
  });
  t.equal(await findRecord(runDir), null);
});

t.test("a QEMU that never answers its first client is asked again", async (t) => {
  const runDir = await temporaryFolder(t);
  const binary = join(runDir, "qemu-like");
  const script = `#!${process.execPath}
    const greeting = { QMP: { version: { qemu: { major: 7, minor: 2, micro: 1 } }, capabilities: [] } };
    let clients = 0;
    require("node:net").createServer((socket) => {
      if (++clients === 1) return;
      socket.write(JSON.stringify(greeting) + "\\n");
      socket.on("data", (line) => {
        const { id, execute } = JSON.parse(line);
        socket.write(JSON.stringify({ return: {}, id }) + "\\n", () => execute === "quit" && process.exit());
      });
    }).listen(process.argv[2]);`;
  await writeFile(binary, script, { mode: 0o755 });
  const args = [qmpSocketPath(runDir)];
  const qemu = await launchQemu(binary, args, { runDir, name: "late", timeoutMs: 12_000 });
  t.strictSame(qemu.qmp.version, [7, 2, 1]);
  t.same(await qemu.quit(), { code: 0, signal: null });
});

t.test("a missing binary and a long socket path are reported", async (t) => {
  const runDir = await temporaryFolder(t);
  await t.rejects(launchQemu("/nonexistent/qemu", [], { runDir, name: "x" }), {
    message: /^Cannot launch QEMU for x: .*ENOENT/,
  });
  const long = join(runDir, "x".repeat(100));
  await t.rejects(launchQemu(QEMU_BINARY, [], { runDir: long, name: "x" }), {
    name: "OperationError",
    message: /unix socket/,
  });
  await t.rejects(access(long));
});

t.test("a folder whose QEMU runs takes no second one", async (t) => {
  const { runDir, pid } = await launchTestQemu(t);
  await t.rejects(launchQemu(QEMU_BINARY, testArguments(runDir), { runDir, name: "second" }), {
    message: `Cannot launch QEMU for second: process ${pid} still runs in ${runDir}`,
  });
});

t.test("a QEMU outlives its killed launcher, is adopted, and its end is noticed", async (t) => {
  const runDir = await temporaryFolder(t);
  const qemu = await adoptOrphan(t, runDir);
  t.equal(await isRunning(qemu.qmp), true);
  t.same(await qemu.quit(), { code: null, signal: null });
  t.equal(await adoptQemu(runDir), null);
});

t.test("an adopted QEMU that is killed by somebody is noticed", async (t) => {
  const runDir = await temporaryFolder(t);
  const qemu = await adoptOrphan(t, runDir);
  process.kill(qemu.pid, "SIGKILL");
  t.same(await qemu.kill(), { code: null, signal: null });
  await qemu.qmp.closed;
});

t.test("QEMU's own pid file finds it when the launcher died before the record", async (t) => {
  const { pid, runDir, startTime, qmp } = await launchTestQemu(t);
  await writeFile(join(runDir, "qemu.json"), "{");
  t.match(await findRecord(runDir), { pid, startTime });
  qmp.close();
  const adopted = await adoptQemu(runDir);
  t.equal(adopted?.pid, pid);
  adopted?.qmp.close();
});

t.test("a recycled pid is never taken for QEMU", async (t) => {
  const runDir = await temporaryFolder(t);
  const record = { pid: process.pid, startTime: "another boot/1", binary: "qemu", args: [], name: "x" };
  await writeRecord(runDir, record);
  t.equal(await adoptQemu(runDir), null);
  await writeFile(join(runDir, "qemu.pid"), `${process.pid}\n`);
  t.equal(await adoptQemu(runDir), null, "nor by a pid file");
});

t.test("a QEMU that runs without answering is not adopted silently", async (t) => {
  const { runDir, qmp } = await launchTestQemu(t);
  // QEMU serves one client, so a second one gets no greeting.
  t.equal(qmp.isClosed, false);
  await t.rejects(adoptQemu(runDir, { timeoutMs: 100 }), {
    name: "OperationError",
    message: /^Cannot adopt QEMU/,
  });
});

t.test("only a whole record is decoded", async (t) => {
  const record = { pid: 2, startTime: "s", binary: "b", args: ["a"], name: "n" };
  t.same(decodeRecord(JSON.stringify(record)), record);
  for (const change of [
    { pid: 1 },
    { pid: "2" },
    { startTime: 1 },
    { binary: null },
    { args: "a" },
    { args: [1] },
    { name: 0 },
  ]) {
    t.equal(decodeRecord(JSON.stringify({ ...record, ...change })), null);
  }
  t.equal(decodeRecord("[]"), null);
  t.equal(decodeRecord(""), null);
});

t.test("a process has a start time, a missing one has none", async (t) => {
  t.equal(await processStartTime(process.pid), await processStartTime(process.pid));
  t.not(await processStartTime(process.pid), null);
  t.equal(await processStartTime(2 ** 22 + 1), null);
  const status = await readFile("/proc/self/stat", "utf8").catch(() => null);
  if (status !== null) t.match(await processStartTime(process.pid), /^[0-9a-f-]{36}\/\d+$/);
});

import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import t from "tap";
import { guestName } from "../../cli/demo/testbed.ts";
import { ExitCode } from "../../cli/errors.ts";
import { checkAftermath, isUnderWay, slowBitsPerSecond } from "./aftermath.ts";
import { Rig } from "./rig.ts";

for (const leg of ["first", "return"] as const) {
  for (const how of ["by word", "by hanging up"] as const) {
    t.test(
      `cancelling a ${leg} leg ${how} leaves the VM at the source and the destination clean`,
      async (t) => {
        const rig = await Rig.boot(t);
        const { from, to } = leg === "first" ? { from: "a", to: "b" } : { from: "b", to: "a" };
        if (leg === "return") {
          await rig.migrate(to, from);
          await rig.untilAlive(from);
          await rig.change(from, "rewrite", 1024, 7168);
        }
        const folders = await rig.generationFolders(to);
        const counter = await rig.counter(from);
        const hangUp = new AbortController();
        let cancelling: Promise<unknown> | null = null;
        const { error } = await rig.begin(from, to, {
          bitsPerSecond: slowBitsPerSecond,
          signal: hangUp.signal,
          onLine: (line) => {
            if (!isUnderWay(line)) return;
            if (how === "by hanging up") hangUp.abort();
            else cancelling ??= rig.site(from).ask("cancel", { vm: guestName });
          },
        });
        await cancelling;
        t.equal(error?.reason, "aborted");
        await rig.idle(from);
        t.ok(await rig.runsAt(from), "the VM runs at the source");
        await rig.idle(to);
        t.strictSame(await rig.generationFolders(to), folders, "the destination's store is as before");
        await checkAftermath(t, rig, from, counter);
      },
    );
  }
}

for (const leg of ["first", "return"] as const) {
  t.test(
    `a VM that an operator pauses during a ${leg} leg stays at the source, and stays paused`,
    async (t) => {
      const rig = await Rig.boot(t, { tracking: leg === "return" ? "standing" : "scan" });
      const { from, to } = leg === "first" ? { from: "a", to: "b" } : { from: "b", to: "a" };
      if (leg === "return") {
        await rig.migrate(to, from);
        await rig.untilAlive(from);
        await rig.change(from, "rewrite", 1024, 7168);
      }
      const counter = await rig.counter(from);
      const monitor = await rig.monitor(from);
      const status = async () => (await monitor.execute<{ status: string }>("query-status")).status;
      let pausing: Promise<unknown> | null = null;
      const { error } = await rig.begin(from, to, {
        bitsPerSecond: slowBitsPerSecond,
        onLine: (line) => {
          if (isUnderWay(line)) pausing ??= monitor.execute("stop");
        },
      });
      await pausing;
      t.equal(error?.reason, "aborted");
      t.match(error?.message, /was paused, and stays so/);
      await Promise.all([rig.idle(from), rig.idle(to)]);
      t.equal(await status(), "paused");
      t.notOk(await rig.runsAt(to));
      await monitor.execute("cont");
      await checkAftermath(t, rig, from, counter);
    },
  );
}

t.test("Ctrl-C at the command line ends it with exit code 3", async (t) => {
  const rig = await Rig.boot(t);
  const main = fileURLToPath(new URL("../../cli/main.js", import.meta.url));
  const { controlPath } = rig.site("a");
  const args = ["migrate", guestName, "--to", "b", "--bandwidth", "40M", "--json", "--control", controlPath];
  const program = spawn(process.execPath, [main, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  t.teardown(() => program.kill("SIGKILL"));
  let errors = "";
  program.stderr.setEncoding("utf8").on("data", (text) => {
    errors += text;
  });
  program.stdout.once("data", () => program.kill("SIGINT"));
  const [code] = await once(program, "exit");
  t.equal(code, ExitCode.aborted, errors);
  t.ok(await rig.runsAt("a"), "the VM runs at the source");
});

t.test("a leg that has no switchover in time is given up", async (t) => {
  const rig = await Rig.boot(t);
  const counter = await rig.counter("a");
  const { error } = await rig.begin("a", "b", { bitsPerSecond: slowBitsPerSecond, timeoutMs: 700 });
  t.equal(error?.reason, "aborted");
  t.match(error?.message, /no switchover within 700 ms/);
  await checkAftermath(t, rig, "a", counter);
});

t.test("a leg keeps to the bandwidth that it is given", async (t) => {
  const rig = await Rig.boot(t);
  const { wireBytes, totalMs } = await rig.migrate("a", "b", { bitsPerSecond: 200e6 });
  const bitsPerSecond = (wireBytes * 8) / (totalMs / 1000);
  t.ok(bitsPerSecond < 1.1 * 200e6, `${Math.round(bitsPerSecond / 1e6)} Mbit/s`);
  await rig.untilAlive("b");
});

for (const state of ["stopped", "finishing", "completing", "released"]) {
  t.test(`interrupting a leg in its state '${state}' leaves exactly one copy`, async (t) => {
    const rig = await Rig.boot(t);
    const counter = await rig.counter("a");
    const interrupt = new AbortController();
    await rig.begin("a", "b", {
      signal: interrupt.signal,
      onLine: (line) => line["state"] === state && interrupt.abort(),
    });
    await rig.idle("a");
    await rig.idle("b");
    const site = (await rig.runsAt("a")) ? "a" : "b";
    if (state === "released") t.equal(site, "b", "after RELEASED an interrupt comes too late");
    await checkAftermath(t, rig, site, counter);
  });
}

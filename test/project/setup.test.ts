import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readdirSync, readFileSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import t from "tap";
import { projectRoot } from "./project-files.ts";

const scripts = join(projectRoot, ".ci");

t.test("set-up names QEMU's package for each system where it cannot install it", async (t) => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(scripts, "setup.mjs")], {
    encoding: "utf8",
    env: { PATH: t.testdir({}) },
  });
  t.equal(status, 1);
  t.equal(stdout, "", "standard output belongs to the program that is set up");
  t.match(stderr, "setup: Install qemu-system-x86_64 first: not found on PATH");
  t.match(stderr, "Debian or Ubuntu: qemu-system-x86; Fedora: qemu-system-x86-core");
  t.match(stderr, "Arch: qemu-system-x86; Homebrew: qemu)");
});

t.test("set-up refuses an option that it does not know", async (t) => {
  const args = [join(scripts, "setup.mjs"), "--no-quemu"];
  const { status, stderr } = spawnSync(process.execPath, args, { encoding: "utf8" });
  t.equal(status, 1);
  t.match(stderr, /^setup: Unknown option '--no-quemu'/);
});

t.test("processes that take the lock at once work one after another", async (t) => {
  const folder = t.testdir({ log: "" });
  const children = Array.from({ length: 4 }, () => lockInChild(folder));
  for (const status of await Promise.all(children)) t.equal(status, 0);
  const lines = readFileSync(join(folder, "log"), "utf8").trim().split("\n");
  t.equal(lines.length, 8);
  for (let i = 0; i < lines.length; i += 2) {
    const owner = lines[i]?.split(" ")[1];
    t.equal(lines[i], `in ${owner}`);
    t.equal(lines[i + 1], `out ${owner}`);
  }
  t.strictSame(readdirSync(folder), ["log"], "the lock is gone");
});

t.test("a lock whose owner has died is taken over by one process at a time", async (t) => {
  const dead = spawn(process.execPath, ["-e", ""]);
  await once(dead, "exit");
  const folder = t.testdir({ log: "", lock: { [String(dead.pid)]: "" } });
  const children = Array.from({ length: 3 }, () => lockInChild(folder));
  for (const status of await Promise.all(children)) t.equal(status, 0);
  t.match(readFileSync(join(folder, "log"), "utf8"), /^(in (\d+)\nout \2\n){3}$/);
});

t.test("a lock whose owner died before it left its name is removed", async (t) => {
  const folder = t.testdir({ log: "" });
  mkdirSync(join(folder, "lock"));
  utimesSync(join(folder, "lock"), new Date(0), new Date(0));
  t.equal(await lockInChild(folder), 0);
  t.match(readFileSync(join(folder, "log"), "utf8"), /^in (\d+)\nout \1\n$/);
});

/** Starts a process that takes FOLDER/lock and logs its entry and exit in FOLDER/log; gives back its exit code. */
async function lockInChild(folder: string): Promise<number | null> {
  const source = `
    import { appendFileSync } from "node:fs";
    import { withLock } from ${JSON.stringify(pathToFileURL(join(scripts, "lock.mjs")).href)};
    const log = (word) => appendFileSync("log", word + " " + process.pid + "\\n");
    await withLock("lock", () => {}, async () => {
      log("in");
      await new Promise((wake) => setTimeout(wake, 50));
      log("out");
    });
  `;
  const args = ["--input-type=module", "-e", source];
  const child = spawn(process.execPath, args, { cwd: folder, stdio: "inherit" });
  const [status] = (await once(child, "exit")) as [number | null];
  return status;
}

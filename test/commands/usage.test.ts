import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { ModelStore } from "../store/model-store.ts";
import { jsonLines, runProgram, spawnProgram, writeSite } from "./program.ts";

const names = [
  "init",
  "agent",
  "define",
  "start",
  "stop",
  "attach",
  "list",
  "show",
  "migrate",
  "predict",
  "sync",
  "generations",
  "prune",
  "recover",
  "doctor",
  "verify",
  "inspect",
  "diff",
  "export",
  "import",
  "page",
  "demo",
];

/** Runs many at a time: each start of the program takes a while. */
async function runAll<T>(cases: readonly T[], args: (one: T) => readonly string[]) {
  return await Promise.all(cases.map(async (one) => ({ one, end: await runProgram(args(one)) })));
}

t.test("--help of the program and of every command ends with 0", async (t) => {
  const program = await runProgram(["--help"]);
  t.equal(program.code, 0);
  const listed = [...program.out.matchAll(/^ {2}([a-z]+) (?:\[options\]|<)/gm)].map(([, name]) => name);
  t.strictSame(listed, names, "all commands are listed, and tested here");
  for (const word of ["add", "list", "remove"]) {
    const end = await runProgram(["peer", word, "--help"]);
    t.match(end, { code: 0, out: new RegExp(`^Usage: bfmig peer ${word} `) });
    t.match(end.out, /--json/, `peer ${word} takes --json`);
  }
  t.match(await runProgram(["bench", "report", "--help"]), {
    code: 0,
    out: /^Usage: bfmig bench report [\s\S]*--json/,
  });
  for (const { one, end } of await runAll(names, (name) => [name, "--help"])) {
    t.equal(end.code, 0, one);
    t.match(end.out, new RegExp(`^Usage: bfmig ${one} `), one);
    t.match(end.out, /--json/, `${one} takes --json`);
    t.equal(end.err, "", one);
  }
  t.match(await runProgram(["--version"]), { code: 0, out: /^\d+\.\d+\.\d+\n$/ });
});

t.test("wrong words end with 2, and say on stderr what is wrong", async (t) => {
  const wrong: [string[], RegExp][] = [
    [[], /^Usage: bfmig/],
    [["migrat"], /unknown command 'migrat'/],
    [["list", "--all"], /unknown option '--all'/],
    [["list", "web1"], /too many arguments/],
    [["start"], /missing required argument 'vm'/],
    [["verify"], /missing required argument 'path'/],
    [["inspect"], /missing required argument 'file'/],
    [["diff", "1"], /missing required argument 'gen2'/],
    [["diff", "1", "2", "--store", "x"], /--store/],
    [["export"], /required option '--out <dir>' not specified/],
    [["export", "web1", "--out", "x", "--format", "elf"], /Allowed choices are raw, stream/],
    [["export", "web1", "--out", "x", "--generation", "1"], /--generation needs --store/],
    [["import", "--store", "x", "--vm", "web1"], /missing required argument 'file'/],
    [["import", "x", "--store", "x"], /required option '--vm <name>' not specified/],
    [["page", "--port", "65536"], /a number from 0 to 65535 is needed/],
    [["page", "web1"], /too many arguments/],
    [["bench"], /^Usage: bfmig bench/],
    [["bench", "report"], /missing required argument 'dir'/],
    [["agent"], /required option '--config <file>' not specified/],
    [["agent", "--config"], /argument missing/],
    [["init", "--site", "a"], /required option '--listen <host:port>' not specified/],
    [["peer"], /^Usage: bfmig peer/],
    [["peer", "add", "b", "--url", "wss://b:1"], /required option '--config <file>' not specified/],
    [["peer", "list", "b", "--config", "x"], /too many arguments/],
    [["migrate", "web1"], /required option '--to <site>' not specified/],
    [["migrate", "web1", "--to", "b", "--timeout", "5"], /Cannot read time "5"/],
    [["migrate", "web1", "--to", "b", "--downtime-limit", "0ms"], /a value above zero is needed/],
    [["migrate", "web1", "--to", "b", "--bandwidth", "5MiB"], /Cannot read rate "5MiB"/],
    [["migrate", "web1", "--to", "b", "--on-divergence", "hope"], /Allowed choices are wait, throttle, stop/],
    [["sync", "web1", "--to", "b", "--downtime-limit", "1s"], /without --checkpoint it does not stand still/],
    [["prune", "web1", "--keep", "0"], /a whole number from 1 on is needed/],
    [["prune", "web1"], /give either --keep or --branch/],
    [["prune", "web1", "--keep", "1", "--branch", "3-b"], /give either --keep or --branch/],
    [["migrate", "web1", "--to", "b", "--streams", "0"], /a whole number from 1 to 16 is needed/],
    [["migrate", "web1", "--to", "b", "--streams", "17"], /a whole number from 1 to 16 is needed/],
    [["migrate", "web1", "--to", "b", "--streams", "2.5"], /a whole number from 1 to 16 is needed/],
    [["recover", "web1", "--generation", "-1"], /a whole number from 1 on is needed/],
    [["demo", "--legs", "many"], /a whole number from 1 to 1000 is needed/],
    [["demo", "--memory", "5000"], /it must be a multiple of 8 KiB/],
  ];
  for (const { one, end } of await runAll(wrong, ([args]) => args)) {
    t.match(end, { code: 2, out: "", err: one[1] }, `bfmig ${one[0].join(" ")}`);
    t.notMatch(end.err, /\n {4}at /, "no stack trace");
  }
});

t.test("with --json a failure is one object on stdout, whatever failed", async (t) => {
  const nowhere = join(t.testdir(), "nothing");
  const failing: [string[], number, string, RegExp][] = [
    [["list", "--control", nowhere], 1, "failed", /^Cannot ask the agent at .*--control/],
    [["start", "--all"], 2, "usage", /^unknown option '--all'/],
    [["migrate", "web1", "--to", "b", "--timeout", "5"], 2, "usage", /^Cannot read time "5"/],
    [["agent", "--config", nowhere], 2, "usage", /^Cannot read .*nothing: ENOENT/],
    [["define", nowhere], 2, "usage", /^Cannot read .*nothing: ENOENT/],
    [["verify", nowhere], 2, "usage", /^Cannot verify .*nothing: ENOENT/],
    [["inspect", nowhere], 2, "usage", /^Cannot inspect .*nothing: there is no such file/],
    [["diff", nowhere, nowhere], 2, "usage", /^Cannot compare .*: there is no folder .*nothing/],
    [["export", nowhere, "--out", nowhere], 2, "usage", /^Cannot export .*nothing/],
    [["import", nowhere, "--store", nowhere, "--vm", "web1"], 2, "usage", /^Cannot import .*nothing/],
  ];
  for (const { one, end } of await runAll(failing, ([args]) => [...args, "--json"])) {
    const [args, code, reason, message] = one;
    t.equal(end.code, code, args.join(" "));
    const lines = jsonLines(end);
    t.equal(lines.length, 1, args.join(" "));
    t.match(lines[0], { event: "error", reason, code, message }, args.join(" "));
  }
});

t.test("no agent: every command that needs one ends with 1 and says what to do", async (t) => {
  const control = join(t.testdir({ "web1.yaml": "name: web1\n" }), "none.sock");
  const asking = [
    ["list"],
    ["show", "web1"],
    ["define", join(t.testdirName, "web1.yaml")],
    ["start", "web1"],
    ["stop", "web1"],
    ["attach", "web1", "--qmp", "qmp.sock"],
    ["migrate", "web1", "--to", "b"],
    ["generations", "web1"],
    ["doctor", "web1"],
    ["prune", "web1", "--keep", "1"],
    ["recover", "web1"],
  ];
  for (const { one, end } of await runAll(asking, (args) => [...args, "--control", control])) {
    t.match(end, { code: 1, out: "" }, one[0]);
    t.match(end.err, new RegExp(`^bfmig: Cannot ask the agent at ${control}: .*--control`), one[0]);
  }
  const byEnvironment = await runProgram(["list"], { BFMIG_CONTROL: control });
  t.match(byEnvironment, { code: 1, err: new RegExp(control) }, "BFMIG_CONTROL names it too");
});

t.test("a configuration that cannot be used ends with 2, or 6 when it would be unsafe", async (t) => {
  const folder = t.testdir();
  const bad: [string, object | string, number, RegExp][] = [
    ["syntax", "site: a\nstore: [\n", 2, /site\.yaml:3:1: /],
    ["unknown", { disks: [] }, 2, /site\.yaml:8: Unrecognized key: "disks"/],
    ["listen", { listen: "0.0.0.0:7070" }, 6, /only loopback addresses are allowed/],
    ["peer", { peers: { b: { url: "ws://10.0.0.1:7070" } } }, 2, /site\.yaml:10: peers\.b\.url: /],
    ["no TLS", { insecure: false }, 2, /: tls: it is needed: .*bfmig init/],
    ["notoken", { token: { file: "missing" } }, 2, /Cannot read token file .*missing/],
  ];
  const paths = new Map<string, string>();
  for (const [name, changes] of bad) {
    const path = await writeSite(join(folder, name), typeof changes === "string" ? {} : changes);
    if (typeof changes === "string") writeFileSync(path, changes);
    paths.set(name, path);
  }
  for (const { one, end } of await runAll(bad, ([name]) => [
    "agent",
    "--config",
    paths.get(name) as string,
  ])) {
    t.match(end, { code: one[2], out: "", err: one[3] }, one[0]);
  }
});

t.test("a token that others may read, or that is too short, is refused", async (t) => {
  const path = await writeSite(t.testdir());
  const token = join(t.testdirName, "token");
  for (const mode of [0o640, 0o604, 0o620]) {
    chmodSync(token, mode);
    const end = await runProgram(["agent", "--config", path]);
    t.match(end, {
      code: 2,
      err: new RegExp(`Cannot use token file ${token}: others may read it; run: chmod 600`),
    });
  }
  chmodSync(token, 0o600);
  writeFileSync(token, "short\n");
  t.match(await runProgram(["agent", "--config", path]), {
    code: 2,
    err: /at least 16 characters are needed/,
  });
});

t.test("a reader that has seen enough crashes nothing", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const [, , newest] = await model.addChain(2);
  for (const args of [["--help"], ["inspect", "--json", join(newest.directory, "delta")]]) {
    for (const stream of ["stdout", "stderr"] as const) {
      const { child, end } = spawnProgram(args);
      child[stream]?.destroy();
      const { code, signal, err } = await end;
      t.match({ code, signal }, { code: 0, signal: null }, `${args[0]} without ${stream}`);
      t.equal(err, "");
    }
  }
  const { child, end } = spawnProgram(["list", "--control", join(t.testdirName, "none.sock")]);
  child.stderr?.destroy();
  t.equal((await end).code, 1, "the exit code is the command's, also when nobody reads why");
});

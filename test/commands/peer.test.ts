import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, existsSync, readFileSync, readlinkSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import t, { type Test } from "tap";
import { readSiteConfig } from "../../cli/config/site-config.ts";
import { listen } from "../../cli/wan/listener.ts";
import { makeIdentity } from "../wan/identities.ts";
import { jsonLines, runProgram } from "./program.ts";

const fingerprint = `SHA256:${"0a".repeat(32)}`;

/** A site as `bfmig init` makes it. Returns its configuration's path. */
async function newSite(t: Test): Promise<string> {
  const folder = t.testdir();
  const end = await runProgram(["init", "--site", "a", "--listen", "127.0.0.1:0", "--dir", folder]);
  t.equal(end.code, 0, end.err);
  return join(folder, "site.yaml");
}

/** A site b that listens and trusts nobody. */
async function siteB(t: Test) {
  const identity = await makeIdentity("b");
  const refused: string[] = [];
  const listener = await listen({
    host: "127.0.0.1",
    port: 0,
    identity,
    peers: {},
    onPeer: () => {},
    onRefused: (_address, reason) => refused.push(reason),
  });
  t.teardown(() => listener.close());
  return { url: `wss://127.0.0.1:${listener.address.port}`, shown: identity.tls?.fingerprint ?? "", refused };
}

t.test("peers are added, listed and removed, and comments stay where they are", async (t) => {
  const config = await newSite(t);
  const added = "# kept at the top\n";
  const before = `${added}${readFileSync(config, "utf8")}# kept at the end\nkeep: 3 # kept beside a field\n`;
  writeFileSync(config, before);
  const add = await runProgram([
    ...[
      "peer",
      "add",
      "b",
      "--url",
      "wss://b.example:7070",
      "--config",
      config,
      "--fingerprint",
      fingerprint,
    ],
    ...["--may-send", "web*", "db?", "--may-receive", "web1"],
  ]);
  t.match(add, { code: 0, out: /added b with .*\n.*restart it; its VMs run on meanwhile\n$/ });
  const addC = ["peer", "add", "c", "--url", "wss://[::1]:1", "--config", config, "--json", "--fingerprint"];
  const c = await runProgram([...addC, fingerprint.replaceAll("0a", "0b")]);
  t.strictSame(jsonLines(c), [
    { event: "done", site: "a", peer: "c", fingerprint: fingerprint.replaceAll("0a", "0b") },
  ]);
  const both = await readSiteConfig(config);
  t.strictSame(both.peers, {
    b: { url: "wss://b.example:7070", fingerprint, maySend: ["web*", "db?"], mayReceive: ["web1"] },
    c: { url: "wss://[::1]:1", fingerprint: fingerprint.replaceAll("0a", "0b"), maySend: [], mayReceive: [] },
  });
  const comments = (text: string) => text.match(/#.*/g);
  t.strictSame(comments(readFileSync(config, "utf8")), comments(before));

  const list = await runProgram(["peer", "list", "--config", config]);
  t.match(list.out, /^fingerprint of site a: SHA256:[0-9a-f]{64}\n/);
  t.match(list.out, /\nb +wss:\/\/b\.example:7070 +web\* db\? +web1 +SHA256:0a0a/);
  t.match(list.out, /\nc +wss:\/\/\[::1\]:1 +- +- +SHA256:0b0b/);
  const [listed] = jsonLines(await runProgram(["peer", "list", "--config", config, "--json"]));
  t.match(listed, {
    event: "done",
    site: "a",
    fingerprint: /^SHA256:/,
    peers: [{ name: "b" }, { name: "c" }],
  });

  for (const name of ["b", "c"]) {
    t.match(await runProgram(["peer", "remove", name, "--config", config]), { code: 0, out: /restart it/ });
  }
  t.equal(readFileSync(config, "utf8"), before, "nothing else was touched");
  t.match((await runProgram(["peer", "list", "--config", config])).out, /no peers/);
});

t.test("what cannot be a peer is refused, and the file stays as it is", async (t) => {
  const config = await newSite(t);
  const pinned = ["--fingerprint", fingerprint];
  await runProgram(["peer", "add", "b", "--url", "wss://b.example:7070", "--config", config, ...pinned]);
  const before = readFileSync(config, "utf8");
  const other = ["--fingerprint", fingerprint.replaceAll("0a", "0b")];
  const wrong: [string[], RegExp][] = [
    [["add", "b", "--url", "wss://b:1", ...other], /it is a peer already; run first: bfmig peer remove b/],
    [["add", "c", "--url", "wss://c:1", ...pinned], /peers\.c\.fingerprint: it is that of b/],
    [["add", "a", "--url", "wss://c:1", ...other], /peers\.a: it is this site itself/],
    [["add", "C", "--url", "wss://c:1", ...other], /as the name of a site/],
    [["add", "c", "--url", "ws://127.0.0.1:1", ...other], /peers\.c\.url: write wss:/],
    [["add", "c", "--url", "c.example", ...other], /peers\.c\.url: write wss:/],
    [["add", "c", "--url", "wss://c:1", "--fingerprint", "0a"], /as a fingerprint: write SHA256:/],
    [
      ["add", "c", "--url", "wss://c:1", ...other, "--may-send", "We*"],
      /peers\.c\.maySend\.0: write the name/,
    ],
    [["remove", "c"], /it is no peer; peers of this site: b/],
  ];
  for (const [args, err] of wrong) {
    t.match(
      await runProgram(["peer", ...args, "--config", config]),
      { code: 2, out: "", err },
      args.join(" "),
    );
    t.equal(readFileSync(config, "utf8"), before, args.join(" "));
  }
});

t.test("a configuration behind a link is changed where it is", async (t) => {
  const config = await newSite(t);
  const link = join(t.testdirName, "link.yaml");
  symlinkSync(config, link);
  const args = ["--url", "wss://b:1", "--config", link, "--fingerprint", fingerprint];
  t.match(await runProgram(["peer", "add", "b", ...args]), { code: 0 });
  t.equal(readlinkSync(link), config);
  t.match((await readSiteConfig(config)).peers, { b: { fingerprint } });
});

t.test(
  "without a fingerprint and without a terminal nothing is trusted: 2, with what to compare and to run",
  async (t) => {
    const config = await newSite(t);
    const { url, shown, refused } = await siteB(t);
    const before = readFileSync(config, "utf8");
    const end = await runProgram(["peer", "add", "b", "--url", url, "--config", config]);
    t.match(end, { code: 2, out: "" });
    t.ok(
      end.err.includes(`run: bfmig peer add b --url ${url} --fingerprint ${shown} --config ${config}`),
      end.err,
    );
    t.equal(readFileSync(config, "utf8"), before);
    t.strictSame(refused, [], "looking at a certificate is no failure");
    const nowhere = await runProgram(["peer", "add", "b", "--url", "wss://127.0.0.1:1", "--config", config]);
    t.match(nowhere, { code: 1, err: /Cannot reach wss:\/\/127\.0\.0\.1:1/ });
  },
);

/** util-linux has it; it gives a program a terminal. */
const scriptPath = ["/usr/bin/script", "/bin/script"].find((path) => existsSync(path));

t.test(
  "on a terminal the fingerprint is shown, and only 'yes' pins it",
  { skip: scriptPath ? false : "there is no script(1)" },
  async (t) => {
    const config = await newSite(t);
    const { url, shown } = await siteB(t);
    const main = fileURLToPath(new URL("../../cli/main.js", import.meta.url));
    const command = [
      "env -u NODE_OPTIONS",
      process.execPath,
      main,
      "peer add b --url",
      url,
      "--config",
      config,
    ].join(" ");
    for (const [answer, code] of [
      ["no", 6],
      ["y", 6],
      ["yes", 0],
    ] as const) {
      const child = spawn(scriptPath as string, ["-qec", command, "/dev/null"], { stdio: "pipe" });
      let out = "";
      child.stdout.setEncoding("utf8").on("data", (text) => {
        if (!out.includes("yes/no: ") && `${out}${text}`.includes("yes/no: "))
          child.stdin.write(`${answer}\n`);
        out += text;
      });
      const [ended] = await once(child, "close");
      t.equal(ended, code, `${answer}: ${out}`);
      t.ok(out.includes(shown), "it was shown");
      t.equal(Object.hasOwn((await readSiteConfig(config)).peers, "b"), code === 0, answer);
    }
    t.match((await readSiteConfig(config)).peers, { b: { url, fingerprint: shown } });
  },
);

t.test("with an authority no fingerprint is pinned unless it is given", async (t) => {
  const config = await newSite(t);
  writeFileSync(config, readFileSync(config, "utf8").replace("key: site.key", "key: site.key, ca: site.crt"));
  t.match(await runProgram(["peer", "add", "b", "--url", "wss://b:1", "--config", config]), { code: 0 });
  t.match((await readSiteConfig(config)).peers, { b: { fingerprint: null } });
});

t.test(
  "an agent and a list say what is wrong with the key or the certificate, and never what is in them",
  async (t) => {
    const config = await newSite(t);
    const folder = t.testdirName;
    const [key, certificate] = [join(folder, "site.key"), join(folder, "site.crt")];
    const keyText = readFileSync(key, "utf8");
    const list = () => runProgram(["peer", "list", "--config", config]);
    chmodSync(key, 0o640);
    t.match(await list(), {
      code: 2,
      err: new RegExp(`Cannot use key file ${key}: others may read it; run: chmod 600`),
    });
    t.match(await runProgram(["agent", "--config", config]), { code: 2, err: /others may read it/ });
    chmodSync(key, 0o600);
    writeFileSync(key, keyText.replace("PRIVATE KEY", "RECIPE"));
    const bad = await list();
    t.match(bad, { code: 2, err: /it is no private key in PEM/ });
    t.notMatch(bad.err, keyText.split("\n")[1]);
    const strange = join(folder, "strange");
    await runProgram(["init", "--site", "b", "--listen", "127.0.0.1:0", "--dir", strange]);
    writeFileSync(key, readFileSync(join(strange, "site.key")));
    t.match(await list(), { code: 2, err: /it is not the key of certificate/ });
    writeFileSync(certificate, "nothing");
    t.match(await list(), { code: 2, err: /site\.crt: it is no certificate in PEM/ });
  },
);

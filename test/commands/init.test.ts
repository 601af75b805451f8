import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { readSiteConfig } from "../../cli/config/site-config.ts";
import { readTlsCredentials } from "../../cli/wan/tls-credentials.ts";
import { jsonLines, runProgram } from "./program.ts";

t.test("init makes a site that its agent can use, with a key that only its owner can read", async (t) => {
  const folder = join(t.testdir(), "new", "site-a");
  const end = await runProgram([
    "init",
    "--site",
    "a",
    "--listen",
    "0.0.0.0:7070",
    "--dir",
    folder,
    "--json",
  ]);
  t.equal(end.code, 0);
  const config = await readSiteConfig(join(folder, "site.yaml"));
  t.match(config, {
    site: "a",
    listen: { host: "0.0.0.0", port: 7070 },
    peers: {},
    insecure: false,
    token: null,
  });
  t.ok(config.tls);
  const { fingerprint } = await readTlsCredentials(config.tls as NonNullable<typeof config.tls>);
  t.strictSame(jsonLines(end), [
    { event: "done", site: "a", config: join(folder, "site.yaml"), fingerprint },
  ]);
  t.equal(statSync(join(folder, "site.key")).mode & 0o777, 0o600);
  t.equal(statSync(folder).mode & 0o777, 0o700);
  t.notMatch(`${end.out}${end.err}`, readFileSync(join(folder, "site.key"), "utf8").split("\n")[1]);
});

t.test("init says the fingerprint and what comes next", async (t) => {
  const folder = t.testdir();
  const { code, out } = await runProgram(["init", "--site", "a", "--listen", "[::1]:7070", "--dir", folder]);
  t.equal(code, 0);
  t.match(out, /fingerprint of site a: SHA256:[0-9a-f]{64}\n/);
  t.match(out, /bfmig peer add NAME --url wss:\/\/HOST:PORT --config /);
});

t.test("init overwrites nothing, and leaves nothing behind when it cannot go on", async (t) => {
  for (const name of ["site.key", "site.crt", "site.yaml"]) {
    const folder = join(t.testdir({ x: {} }), "x");
    writeFileSync(join(folder, name), "something dear");
    const end = await runProgram(["init", "--site", "a", "--listen", "127.0.0.1:7070", "--dir", folder]);
    t.match(end, { code: 2, out: "", err: new RegExp(`EEXIST.*${name}.*nothing was changed`) });
    t.strictSame(readdirSync(folder), [name]);
    t.equal(readFileSync(join(folder, name), "utf8"), "something dear");
  }
});

t.test("init refuses names and addresses that cannot be used before it makes anything", async (t) => {
  const folder = join(t.testdir(), "site");
  const wrong: [string[], RegExp][] = [
    [["--site", "Site A", "--listen", "127.0.0.1:7070"], /as the name of a site: names have/],
    [["--site", "a", "--listen", "7070"], /listen: write HOST:PORT/],
    [["--site", "a", "--listen", "127.0.0.1:70700"], /listen: port 70700 exceeds 65535/],
    [["--site", "a", "--listen", "127.0.0.1: 7"], /listen: write HOST:PORT/],
  ];
  for (const [args, err] of wrong) {
    t.match(await runProgram(["init", ...args, "--dir", folder]), { code: 2, out: "", err }, args.join(" "));
  }
  t.notOk(existsSync(folder));
});

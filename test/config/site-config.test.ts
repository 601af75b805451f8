import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { stringify } from "yaml";
import { readSiteConfig, type SiteConfig } from "../../cli/config/site-config.ts";
import { endsAs } from "../store/operation-errors.ts";

const least = {
  site: "a",
  store: "store",
  listen: "127.0.0.1:7070",
  control: "run/agent.sock",
  token: { file: "token" },
};

async function read(t: Test, config: object | string): Promise<SiteConfig> {
  const path = join(t.testdir(), "site.yaml");
  writeFileSync(path, typeof config === "string" ? config : stringify(config));
  return await readSiteConfig(path);
}

t.test("relative paths are relative to the file, and what is left out has a default", async (t) => {
  const config = await read(t, least);
  const folder = t.testdirName;
  t.strictSame(config, {
    site: "a",
    store: `${folder}/store`,
    listen: { host: "127.0.0.1", port: 7070 },
    control: `${folder}/run/agent.sock`,
    keys: `${folder}/store.keys`,
    run: `${folder}/run/agent.sock.d`,
    token: { file: `${folder}/token` },
    peers: {},
    qemu: { binary: "qemu-system-x86_64", args: [] },
    arrivals: {},
    keep: 2,
  });
});

t.test("absolute paths and everything that is given stay as they are", async (t) => {
  const given = {
    ...least,
    store: "/srv/store",
    keys: "/srv/keys",
    run: "/run/b",
    listen: "[::1]:0",
    peers: { b: "ws://127.0.0.1:7071", "c-1": "wss://c.example:443", d: "ws://[::1]:7072" },
    qemu: { binary: "/opt/qemu" },
    arrivals: { web1: { args: ["-nic", "none"] } },
    keep: 5,
  };
  const config = await read(t, given);
  t.match(config, { store: "/srv/store", keys: "/srv/keys", run: "/run/b", keep: 5, peers: given.peers });
  t.strictSame(config.listen, { host: "::1", port: 0 });
  t.strictSame(config.qemu, { binary: "/opt/qemu", args: [] });
  t.strictSame(config.arrivals, given.arrivals);
});

t.test("an address that others can reach is refused, since nothing is encrypted", async (t) => {
  const hosts = ["0.0.0.0", "10.0.0.1", "[::]", "[fe80::1]", "example.org", "127.0.0.1.example", "127.1"];
  for (const host of hosts) {
    await t.rejects(
      read(t, { ...least, listen: `${host}:7070` }),
      { ...endsAs("refused"), message: /only loopback addresses are allowed/ },
      host,
    );
  }
  for (const host of ["127.0.0.1", "127.8.9.10", "localhost", "[::1]"]) {
    await t.resolves(read(t, { ...least, listen: `${host}:7070` }), host);
  }
});

t.test("an unencrypted peer beyond loopback is refused, however loopback is dressed up", async (t) => {
  for (const host of [
    "10.0.0.1",
    "b.example",
    "127.0.0.1.example",
    "127.0.0.1#",
    "127.0.0.1@b.example",
    "[::]",
  ]) {
    await t.rejects(
      read(t, { ...least, peers: { b: `ws://${host}:7071` } }),
      { ...endsAs("usage"), message: /site\.yaml:\d+: peers\.b: / },
      host,
    );
  }
});

t.test("what is no address or port is wrong use", async (t) => {
  for (const listen of ["127.0.0.1", ":7070", "7070", "::1:7070", "127.0.0.1:x", "127.0.0.1:65536"]) {
    await t.rejects(
      read(t, { ...least, listen }),
      { ...endsAs("usage"), message: /site\.yaml.*listen: / },
      listen,
    );
  }
});

t.test("every wrong field is named with its line", async (t) => {
  const lines = stringify(least).trimEnd().split("\n");
  const wrong: [string, RegExp][] = [
    ["storage: x", /site\.yaml:7: .*"storage"/],
    ["peers: {b: http://127.0.0.1:7071}", /site\.yaml:7: peers\.b: write ws:\/\/HOST:PORT/],
    ["peers: {b: ws://127.0.0.1}", /site\.yaml:7: peers\.b: write ws:\/\/HOST:PORT/],
    ["peers: {b: ws://127.0.0.1:7071/path}", /site\.yaml:7: peers\.b: write ws:\/\/HOST:PORT/],
    ["peers: {../b: ws://127.0.0.1:7071}", /site\.yaml:7: peers/],
    ["keep: 0", /site\.yaml:7: keep: /],
    ["keep: two", /site\.yaml:7: keep: /],
    ["arrivals: {web1: {args: -nic none}}", /site\.yaml:7: arrivals\.web1\.args: /],
    ["qemu: {path: /opt/qemu}", /site\.yaml:7: qemu: .*"path"/],
    ['run: ""', /site\.yaml:7: run: /],
  ];
  for (const [line, message] of wrong) {
    await t.rejects(read(t, [...lines, line, ""].join("\n")), { ...endsAs("usage"), message }, line);
  }
  await t.rejects(read(t, { ...least, site: "Not A Name" }), { message: /site\.yaml:1: site: names have/ });
});

t.test("every field that is needed is named when it is missing", async (t) => {
  for (const field of Object.keys(least)) {
    const rest = Object.fromEntries(Object.entries(least).filter(([name]) => name !== field));
    await t.rejects(read(t, rest), { ...endsAs("usage"), message: new RegExp(`: ${field}: `) }, field);
  }
});

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { stringify } from "yaml";
import { acceptField } from "../../cli/config/confinement.ts";
import { readSiteConfig, type SiteConfig } from "../../cli/config/site-config.ts";
import { endsAs } from "../store/operation-errors.ts";

const least = {
  site: "a",
  store: "store",
  listen: "127.0.0.1:7070",
  control: "run/agent.sock",
  tls: { cert: "site.crt", key: "site.key" },
};

/** A site without TLS. */
const { tls: _, ...withoutTls } = least;
const plain = { ...withoutTls, insecure: true, token: { file: "token" } };
const fingerprint = `SHA256:${"0a".repeat(32)}`;

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
    tls: { cert: `${folder}/site.crt`, key: `${folder}/site.key`, ca: null },
    token: null,
    insecure: false,
    peers: {},
    qemu: { binary: "qemu-system-x86_64", args: [], sandbox: "auto" },
    accept: acceptField.parse(undefined),
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
    peers: {
      b: { url: "wss://b.example:7070", fingerprint, maySend: ["web*"], mayReceive: ["web1", "db?"] },
      "c-1": { url: "wss://[2001:db8::1]:443", fingerprint: null, maySend: [], mayReceive: [] },
    },
    tls: { cert: "/etc/a.crt", key: "/etc/a.key", ca: "/etc/ca.crt" },
    token: { file: "/etc/token" },
    qemu: { binary: "/opt/qemu" },
    arrivals: { web1: { args: ["-nic", "none"], tracking: "standing" }, web2: { tracking: "scan" } },
    keep: 5,
  };
  const config = await read(t, given);
  const { peers, tls, token } = given;
  t.match(config, { store: "/srv/store", keys: "/srv/keys", run: "/run/b", keep: 5, tls, token });
  t.strictSame(config.peers, peers);
  t.strictSame(config.listen, { host: "::1", port: 0 });
  t.strictSame(config.qemu, { binary: "/opt/qemu", args: [], sandbox: "auto" });
  t.strictSame(config.arrivals, given.arrivals);
});

t.test("with TLS any address is right; in plain text one that others can reach is refused", async (t) => {
  const hosts = ["0.0.0.0", "10.0.0.1", "[::]", "[fe80::1]", "example.org", "127.0.0.1.example", "127.1"];
  for (const host of hosts) {
    await t.resolves(read(t, { ...least, listen: `${host}:7070` }), host);
    await t.rejects(
      read(t, { ...plain, listen: `${host}:7070` }),
      { ...endsAs("refused"), message: /only loopback addresses are allowed/ },
      host,
    );
  }
  for (const host of ["127.0.0.1", "127.8.9.10", "localhost", "[::1]"]) {
    await t.resolves(read(t, { ...plain, listen: `${host}:7070` }), host);
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
      read(t, { ...plain, peers: { b: { url: `ws://${host}:7071` } } }),
      { ...endsAs("usage"), message: /site\.yaml:\d+: peers\.b\.url: / },
      host,
    );
  }
  const peers = { b: { url: "ws://127.0.0.1:7071" }, d: { url: "ws://[::1]:7072" } };
  await t.resolves(read(t, { ...plain, peers }));
});

t.test(
  "plain text is said in so many words, and nothing is half encrypted or half authenticated",
  async (t) => {
    const secure = { url: "wss://b.example:7070", fingerprint };
    const wrong: [object, RegExp][] = [
      [withoutTls, /: tls: it is needed.*bfmig init.*insecure: true/],
      [{ ...withoutTls, token: { file: "token" } }, /: tls: it is needed/],
      [{ ...least, insecure: true, token: { file: "token" } }, /: insecure: it excludes tls/],
      [{ ...withoutTls, insecure: true }, /: token: it is needed with insecure/],
      [{ ...least, peers: { b: { ...secure, url: "ws://127.0.0.1:7070" } } }, /: peers\.b\.url: write wss:/],
      [{ ...plain, peers: { b: secure } }, /: peers\.b\.url: write ws:/],
      [
        { ...least, peers: { b: { url: secure.url } } },
        /: peers\.b\.fingerprint: it is needed without tls\.ca/,
      ],
      [{ ...least, peers: { a: secure } }, /: peers\.a: it is this site itself/],
      [
        { ...least, peers: { b: secure, c: { ...secure, url: "wss://c.example:7070" } } },
        /: peers\.c\.fingerprint: it is that of b/,
      ],
    ];
    for (const [config, message] of wrong) {
      await t.rejects(read(t, config), { ...endsAs("usage"), message }, String(message));
    }
    await t.resolves(
      read(t, { ...least, tls: { ...least.tls, ca: "ca.crt" }, peers: { b: { url: secure.url } } }),
    );
  },
);

t.test("peers may do nothing unless it is said, and fingerprints are kept in one notation", async (t) => {
  const colons = `SHA256:${Array(32).fill("0A").join(":")}`;
  const config = await read(t, {
    ...least,
    peers: { b: { url: "wss://b.example:7070", fingerprint: colons } },
  });
  t.strictSame(config.peers, {
    b: { url: "wss://b.example:7070", fingerprint, maySend: [], mayReceive: [] },
  });
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
    ["storage: x", /site\.yaml:8: .*"storage"/],
    ['peers: {b: "wss://b.example:7071"}', /site\.yaml:8: peers\.b: write url, fingerprint/],
    ['peers: {b: {url: "http://b.example:7071"}}', /site\.yaml:8: peers\.b\.url: write wss:\/\/HOST:PORT/],
    ['peers: {b: {url: "wss://b.example"}}', /site\.yaml:8: peers\.b\.url: write wss:\/\/HOST:PORT/],
    ['peers: {b: {url: "wss://b.example:1/path"}}', /site\.yaml:8: peers\.b\.url: write wss:\/\/HOST:PORT/],
    ['peers: {../b: {url: "wss://b.example:7071"}}', /site\.yaml:8: peers/],
    [
      'peers: {b: {url: "wss://b:1", fingerprint: "0a"}}',
      /site\.yaml:8: peers\.b\.fingerprint: write SHA256:/,
    ],
    ['peers: {b: {url: "wss://b:1", maysend: []}}', /site\.yaml:8: peers\.b: .*"maysend"/],
    [
      'peers: {b: {url: "wss://b:1", maySend: ["[a-z]"]}}',
      /site\.yaml:8: peers\.b\.maySend\.0: write the name/,
    ],
    ["insecure: maybe", /site\.yaml:8: insecure: /],
    ["keep: 0", /site\.yaml:8: keep: /],
    ["keep: two", /site\.yaml:8: keep: /],
    ["arrivals: {web1: {args: -nic none}}", /site\.yaml:8: arrivals\.web1\.args: /],
    ["qemu: {path: /opt/qemu}", /site\.yaml:8: qemu: .*"path"/],
    ['run: ""', /site\.yaml:8: run: /],
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

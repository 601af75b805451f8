import { request as httpRequest } from "node:http";
import { connect } from "node:net";
import t from "tap";
import { type PageServer, servePage } from "../../cli/web/page-server.ts";
import { runProgram, spawnProgram } from "../commands/program.ts";

const page = {
  "index.html": "<!doctype html>the page",
  "style.css": "a{}",
  "page.js": "page",
  "worker.js": "worker",
  "hash-worker.js": "hash worker",
};

let server: PageServer;
let folder: string;

t.before(async () => {
  folder = t.testdir({ page, secret: "not for anybody", "page.key": "key" });
  server = await servePage(0, `${folder}/page`);
});
t.teardown(() => server.close());

interface Answer {
  readonly status: number;
  readonly headers: Record<string, string | string[] | undefined>;
  readonly body: string;
}

/** Asks for a path exactly as it is written: `fetch` would tidy it up. */
function ask(path: string, method = "GET", host?: string): Promise<Answer> {
  const { hostname, port } = new URL(server.url);
  return new Promise((resolve, reject) => {
    const headers = host === undefined ? {} : { Host: host };
    const request = httpRequest({ hostname, port, path, method, headers }, (response) => {
      let body = "";
      response.setEncoding("utf8").on("data", (text) => {
        body += text;
      });
      response.on("end", () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body }),
      );
    });
    request.on("error", reject).end();
  });
}

t.test("the page's files are served with their types and a policy that allows nothing else", async (t) => {
  for (const [path, type] of [
    ["/", "text/html; charset=utf-8"],
    ["/index.html", "text/html; charset=utf-8"],
    ["/style.css", "text/css; charset=utf-8"],
    ["/page.js", "text/javascript; charset=utf-8"],
    ["/worker.js", "text/javascript; charset=utf-8"],
    ["/hash-worker.js", "text/javascript; charset=utf-8"],
  ]) {
    const { status, headers, body } = await ask(path);
    t.equal(status, 200, path);
    t.equal(headers["content-type"], type);
    t.equal(body, page[(path === "/" ? "index.html" : path.slice(1)) as keyof typeof page]);
    t.match(
      headers["content-security-policy"],
      /^default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; /,
    );
    t.notMatch(headers["content-security-policy"], /unsafe-(eval|inline)(?<!wasm-unsafe-eval)/);
    t.equal(headers["x-content-type-options"], "nosniff");
  }
});

t.test("HEAD has the headers and no body", async (t) => {
  const { status, headers, body } = await ask("/page.js", "HEAD");
  t.equal(status, 200);
  t.equal(headers["content-length"], "4");
  t.equal(body, "");
});

t.test("nothing but the page's files can be reached, however the path is written", async (t) => {
  for (const path of [
    "/../secret",
    "/..%2fsecret",
    "/%2e%2e/secret",
    "/..\\secret",
    "/./index.html",
    "//index.html",
    "/index.html/",
    "/index.html%00",
    "/index.html?x=1",
    "/page.key",
    "/etc/passwd",
    "//etc/passwd",
    "/page",
    "/constructor",
    "/__proto__",
    "*",
    "http://127.0.0.1/secret",
    `/${"a".repeat(8000)}`,
  ]) {
    const { status, body } = await ask(path);
    t.equal(status, 404, path.slice(0, 40));
    t.equal(body, "There is no such file\n");
  }
});

t.test("methods that could change something are refused", async (t) => {
  for (const method of ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"]) {
    const { status, headers } = await ask("/", method);
    t.equal(status, 405, method);
    t.equal(headers["allow"], "GET, HEAD");
  }
});

t.test(
  "a name that is not this machine's loopback is refused, so that no other site's page can ask",
  async (t) => {
    const { port } = new URL(server.url);
    for (const host of [
      "127.0.0.1",
      `127.0.0.1:${port}`,
      `localhost:${port}`,
      "LOCALHOST",
      "[::1]:80",
      "127.9.8.7",
    ]) {
      t.equal((await ask("/", "GET", host)).status, 200, host);
    }
    for (const host of [
      "evil.example",
      `evil.example:${port}`,
      "127.0.0.1.evil.example",
      "localhost.",
      "10.0.0.1",
    ]) {
      t.equal((await ask("/", "GET", host)).status, 421, JSON.stringify(host));
    }
  },
);

t.test("what is no HTTP, or has no end, does not keep the server from answering", async (t) => {
  const { hostname, port } = new URL(server.url);
  const said = await new Promise<string>((resolve) => {
    let text = "";
    const socket = connect(Number(port), hostname, () => socket.write("\0\x01garbage\r\n\r\n"));
    socket.on("data", (data) => {
      text += data;
    });
    socket.on("close", () => resolve(text)).on("error", () => {});
  });
  t.match(said, /^HTTP\/1\.1 400 /);
  const endless = connect(Number(port), hostname, () => endless.write("GET / HTTP/1.1\r\nHost: "));
  t.teardown(() => endless.destroy());
  t.equal((await ask("/")).status, 200);
});

t.test("it listens on loopback only", async (t) => {
  t.equal(new URL(server.url).hostname, "127.0.0.1");
});

t.test("a page that is not built, and a port that is in use, are told", async (t) => {
  await t.rejects(servePage(0, folder), /Cannot serve the page: build it first/);
  await t.rejects(
    servePage(Number(new URL(server.url).port), `${folder}/page`),
    /Cannot listen on 127\.0\.0\.1:/,
  );
});

t.test("the command says where the page is, and ends when it is told to", async (t) => {
  const { child, end } = spawnProgram(["page", "--json"]);
  t.teardown(() => child.kill("SIGKILL"));
  const ready = await new Promise<string>((resolve) =>
    child.stdout?.once("data", (text) => resolve(String(text))),
  );
  const { event, url } = JSON.parse(ready.split("\n")[0]) as { event: string; url: string };
  t.equal(event, "ready");
  const response = await fetch(url);
  t.equal(response.status, 200);
  t.match(await response.text(), "<title>bfmig verify</title>");
  child.kill("SIGINT");
  const { code, out } = await end;
  t.equal(code, 0);
  t.match(out.trim().split("\n").at(-1), '"event":"done"');
});

t.test("the command refuses what is no port", async (t) => {
  for (const port of ["65536", "-1", "http", "8080x"]) {
    const { code, err } = await runProgram(["page", `--port=${port}`]);
    t.equal(code, 2, port);
    t.match(err, "Cannot use port");
  }
});

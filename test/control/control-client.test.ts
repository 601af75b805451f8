import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createSocketServer } from "node:net";
import { join } from "node:path";
import t, { type Test } from "tap";
import { ask, type ControlLine } from "../../cli/control-client.ts";
import { shortFolder } from "../agent/agent-fixture.ts";
import { endsAs } from "../store/operation-errors.ts";

type Answer = (response: ServerResponse, request: IncomingMessage, body: string) => void;

/** A socket behind which an agent answers as the test says. */
async function answering(t: Test, answer: Answer): Promise<string> {
  const path = join(await shortFolder(t), "agent.sock");
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request) body += chunk;
    answer(response, request, body);
  });
  await once(server.listen(path), "listening");
  t.teardown(() => {
    server.close();
    server.closeAllConnections();
  });
  return path;
}

t.test("one request; lines come as they are said, the last one is the result", async (t) => {
  const seen: unknown[] = [];
  const path = await answering(t, (response, request, body) => {
    seen.push(request.method, request.url, JSON.parse(body));
    // Lines cut anywhere, also within a character.
    const bytes = Buffer.from(
      '{"event":"progress","n":1}\n{"event":"state","s":"ü"}\n{"event":"done","n":2}\n',
    );
    const cut = bytes.indexOf(0xc3) + 1;
    response.write(bytes.subarray(0, 9));
    setImmediate(() => {
      response.write(bytes.subarray(9, cut));
      setImmediate(() => response.end(bytes.subarray(cut)));
    });
  });
  const lines: ControlLine[] = [];
  const done = await ask(path, "migrate", { vm: "web1" }, { onLine: (line) => lines.push(line) });
  t.strictSame(seen, ["POST", "/v1/migrate", { vm: "web1" }]);
  t.strictSame(lines, [
    { event: "progress", n: 1 },
    { event: "state", s: "ü" },
  ]);
  t.strictSame(done, { event: "done", n: 2 });
});

t.test("an agent's error comes out with its message and reason", async (t) => {
  const path = await answering(t, (response, _request, body) => response.end(`${body}\n`));
  for (const reason of ["failed", "usage", "aborted", "inDoubt", "refused"] as const) {
    await t.rejects(ask(path, "start", { event: "error", reason, message: "Cannot do it" }), {
      ...endsAs(reason),
      message: "Cannot do it",
    });
  }
  for (const reason of ["brand new", 7, undefined, "constructor", "done"]) {
    await t.rejects(ask(path, "start", { event: "error", reason, message: "x" }), endsAs("failed"));
  }
});

t.test("an agent that cannot be reached is told with its socket and what to do", async (t) => {
  const path = join(await shortFolder(t), "agent.sock");
  await t.rejects(ask(path, "list", {}), {
    ...endsAs("failed"),
    message: new RegExp(`^Cannot ask the agent at ${path}: .*ENOENT.*; is the agent running\\?.*--control`),
  });
});

t.test("an answer that ends without its last line is a failure", async (t) => {
  const path = await answering(t, (response) => response.end('{"event":"progress"}\n'));
  await t.rejects(ask(path, "list", {}), { ...endsAs("failed"), message: /it ended without an answer/ });
});

t.test("an agent that dies in the middle of its answer is a failure, not a crash", async (t) => {
  const path = await answering(t, (response) => {
    response.write('{"event":"progress"}\n', () => response.destroy());
  });
  await t.rejects(ask(path, "list", {}), { ...endsAs("failed"), message: /^Cannot ask the agent/ });
});

t.test("whatever else answers at the socket is a failure, not a crash", async (t) => {
  for (const text of ["<html>hello</html>\n", "null\n", "[]\n", '"done"\n', "{}\n", '{"event":7}\n']) {
    const path = await answering(t, (response) => response.end(text));
    await t.rejects(
      ask(path, "list", {}),
      { ...endsAs("failed"), message: /what answers there is no agent/ },
      text,
    );
  }
  const path = join(await shortFolder(t), "agent.sock");
  const server = createSocketServer((socket) => socket.end("220 smtp.example\r\n"));
  await once(server.listen(path), "listening");
  t.teardown(() => server.close());
  await t.rejects(ask(path, "list", {}), { ...endsAs("failed"), message: /^Cannot ask the agent/ });
});

t.test("a caller that gives up ends the request, before and during the answer", async (t) => {
  let gone = () => {};
  const whenGone = new Promise<void>((resolve) => {
    gone = resolve;
  });
  const path = await answering(t, (response) => {
    response.on("close", gone);
    response.write('{"event":"progress"}\n');
  });
  const stop = new AbortController();
  const asked = ask(path, "migrate", {}, { signal: stop.signal, onLine: () => stop.abort() });
  await t.rejects(asked, endsAs("aborted"));
  await whenGone;
  await t.rejects(ask(path, "migrate", {}, { signal: AbortSignal.abort() }), endsAs("aborted"));
});

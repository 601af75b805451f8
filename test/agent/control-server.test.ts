import { once } from "node:events";
import { existsSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { type ClientRequest, type IncomingMessage, request } from "node:http";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import t, { type Test } from "tap";
import type { Agent } from "../../cli/agent/agent.ts";
import { type CommandContext, commands } from "../../cli/agent/control-commands.ts";
import { startControlServer } from "../../cli/agent/control-server.ts";
import { OperationError } from "../../cli/errors.ts";
import { endsAs } from "../store/operation-errors.ts";
import { openAgent } from "./agent-fixture.ts";

/** A control interface over an agent of its own. */
async function serving(t: Test): Promise<Agent> {
  const agent = await openAgent(t);
  const server = await startControlServer(agent);
  t.teardown(() => {
    server.close();
    server.closeAllConnections();
  });
  return agent;
}

function begin(agent: Agent, path: string, method = "POST"): ClientRequest {
  const asked = request({ socketPath: agent.config.control, method, path });
  asked.on("error", () => {});
  return asked;
}

/** The lines of the answer. */
async function ask(
  agent: Agent,
  path: string,
  body: string | Buffer = "{}",
  method = "POST",
): Promise<object[]> {
  const asked = request({ socketPath: agent.config.control, method, path });
  const answered = once(asked, "response");
  asked.end(body);
  const [response] = (await answered) as [IncomingMessage];
  let text = "";
  for await (const chunk of response) text += chunk;
  return text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as object);
}

/** Adds a command for the test. */
function withCommand(t: Test, name: string, run: (context: CommandContext) => Promise<object>): void {
  const all = commands as Record<string, unknown>;
  all[name] = { body: { safeParse: (data: unknown) => ({ success: true, data }) }, run };
  t.teardown(() => delete all[name]);
}

t.test("only the owner can open the socket, whatever the umask", async (t) => {
  const before = process.umask(0);
  t.teardown(() => process.umask(before));
  const agent = await serving(t);
  t.equal(statSync(agent.config.control).mode & 0o777, 0o600);
  t.equal(process.umask(), 0, "and the umask is as it was");
});

t.test("a command is answered with lines, the last one 'done'", async (t) => {
  const agent = await serving(t);
  t.strictSame(await ask(agent, "/v1/list"), [{ event: "done", site: "a", vms: [] }]);
  t.strictSame(await ask(agent, "/v1/list", ""), [{ event: "done", site: "a", vms: [] }], "no body at all");
  withCommand(t, "count", async ({ send }) => {
    for (let i = 1; i <= 3; i++) send({ event: "progress", i });
    return { event: "done" };
  });
  t.strictSame(await ask(agent, "/v1/count"), [
    { event: "progress", i: 1 },
    { event: "progress", i: 2 },
    { event: "progress", i: 3 },
    { event: "done" },
  ]);
});

t.test("requests that make no sense are wrong use, and say why", async (t) => {
  const agent = await serving(t);
  const wrong: [string, string | Buffer, RegExp, string?][] = [
    ["/v1/list", "{", /it is not JSON/],
    ["/v1/list", "[]", /Cannot list: request: /],
    ["/v1/list", '{"more":1}', /Cannot list: request: .*"more"/],
    ["/v1/show", "{}", /Cannot show: vm: /],
    ["/v1/show", '{"vm":7}', /Cannot show: vm: /],
    ["/v1/prune", '{"vm":"web1","keep":0}', /Cannot prune: keep: /],
    ["/v1/nothing", "{}", /Cannot find control command "nothing"/],
    ["/v1/constructor", "{}", /Cannot find control command "constructor"/],
    ["/v1/list/more", "{}", /Cannot find control command ""/],
    ["/", "{}", /Cannot find control command ""/],
    ["/v1/list", "", /Cannot find control command "list"/, "PUT"],
    ["/v1/list", Buffer.alloc((1 << 20) + 1, 0x20), /it exceeds 1048576 bytes/],
    ["/v1/list", Buffer.alloc(20 << 20, 0x20), /it exceeds 1048576 bytes/],
  ];
  for (const [path, body, message, method] of wrong) {
    const what = `${path} ${body.toString("utf8", 0, 20)}`;
    t.match(
      await ask(agent, path, body, method),
      [{ event: "error", reason: "usage", code: 2, message }],
      what,
    );
  }
  t.match(await ask(agent, "/v1/list"), [{ event: "done" }], "it goes on answering");
});

t.test("an error ends the answer with its reason and exit code", async (t) => {
  const agent = await serving(t);
  withCommand(t, "refuse", async () => {
    throw new OperationError("refused", "Cannot do it: it is not ours");
  });
  withCommand(t, "break", async () => {
    throw new TypeError("x is undefined");
  });
  t.strictSame(await ask(agent, "/v1/refuse"), [
    { event: "error", reason: "refused", code: 6, message: "Cannot do it: it is not ours" },
  ]);
  t.match(await ask(agent, "/v1/break"), [
    { event: "error", reason: "failed", code: 1, message: /undefined/ },
  ]);
  t.match(await ask(agent, "/v1/show", '{"vm":"../x"}'), [
    { event: "error", reason: "failed", message: 'Cannot find VM "../x" at site a; defined here: none are' },
  ]);
});

t.test("a client that goes away aborts its command's signal, a client that stays does not", async (t) => {
  const agent = await serving(t);
  const contexts: CommandContext[] = [];
  let aborted = () => {};
  const whenAborted = new Promise<void>((resolve) => {
    aborted = resolve;
  });
  withCommand(t, "wait", async (context) => {
    contexts.push(context);
    context.send({ event: "begun" });
    await new Promise<void>((resolve) => context.signal.addEventListener("abort", () => resolve()));
    context.send({ event: "told to nobody" });
    aborted();
    return { event: "done" };
  });
  withCommand(t, "finish", async (context) => {
    contexts.push(context);
    return { event: "done" };
  });
  const asked = begin(agent, "/v1/wait");
  asked.end("{}");
  const [response] = (await once(asked, "response")) as [IncomingMessage];
  await once(response, "data");
  t.notOk(contexts[0].signal.aborted);
  asked.destroy();
  await whenAborted;
  t.ok(contexts[0].signal.aborted);
  await ask(agent, "/v1/finish");
  t.notOk(contexts[1].signal.aborted);
});

t.test("a client that goes away in the middle of its request does no harm", async (t) => {
  const agent = await serving(t);
  const socket = connect(agent.config.control);
  socket.write("POST /v1/list HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{");
  await once(socket, "connect");
  socket.destroy();
  const garbage = connect(agent.config.control);
  garbage.on("error", () => {});
  garbage.end("\u0000\u0001 nonsense\r\n\r\n");
  garbage.resume();
  await once(garbage, "close");
  t.match(await ask(agent, "/v1/list"), [{ event: "done" }]);
});

t.test("a second agent on the same socket is refused, and the first one answers on", async (t) => {
  const agent = await serving(t);
  await t.rejects(startControlServer(agent), {
    ...endsAs("failed"),
    message: /another agent listens there/,
  });
  t.match(await ask(agent, "/v1/list"), [{ event: "done" }]);
});

t.test("a socket that a dead agent left is replaced", async (t) => {
  const agent = await openAgent(t);
  const { control } = agent.config;
  const dead = createServer().listen(control);
  await once(dead, "listening");
  // Closing would remove it: a name that nobody listens behind any more is what a crash leaves.
  renameSync(control, `${control}.moved`);
  await new Promise((resolve) => dead.close(resolve));
  renameSync(`${control}.moved`, control);
  t.ok(existsSync(control));
  const server = await startControlServer(agent);
  t.teardown(() => {
    server.close();
    server.closeAllConnections();
  });
  t.match(await ask(agent, "/v1/list"), [{ event: "done" }]);
});

t.test("a file that is no socket is refused and left alone", async (t) => {
  const agent = await openAgent(t);
  const { control } = agent.config;
  writeFileSync(control, "something dear");
  await t.rejects(startControlServer(agent), { ...endsAs("failed"), message: /it is not a socket/ });
  t.equal(readFileSync(control, "utf8"), "something dear");
});

t.test("a socket path that cannot be used is told with its path", async (t) => {
  const agent = await openAgent(t);
  const at = (control: string) => ({ ...agent, config: { ...agent.config, control } }) as unknown as Agent;
  await t.rejects(startControlServer(at(join(agent.config.store, "x".repeat(120)))), {
    ...endsAs("usage"),
    message: /its path has \d+ bytes, more than 107/,
  });
  await t.rejects(startControlServer(at(join(agent.config.token?.file ?? "", "agent.sock"))), {
    ...endsAs("failed"),
    message: /Cannot use control socket/,
  });
});

/** The control interface: bodies of requests against their schemas, and HTTP against the server on its socket. */

import { connect } from "node:net";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import type { Agent } from "../../../cli/agent/agent.ts";
import { commands } from "../../../cli/agent/control-commands.ts";
import { startControlServer } from "../../../cli/agent/control-server.ts";
import { parseDefinition } from "../../../cli/config/vm-definition.ts";
import { OperationError } from "../../../cli/errors.ts";
import { concatBytes } from "../../../src/bytes.ts";
import { mutateBytes } from "../mutate-bytes.ts";
import { mutateJson } from "../mutate-text.ts";
import type { Random } from "../random.ts";
import { demand, type Target, textOf, utf8 } from "../target.ts";
import { definitionText } from "./config.ts";
import { workFolder } from "./work-folder.ts";

const vm = "web1";
const bodies: readonly (readonly [command: string, body: object])[] = [
  ["list", {}],
  ["show", { vm }],
  ["define", { text: definitionText, path: "/etc/web1.yaml" }],
  ["start", { vm }],
  ["stop", { vm, force: false, timeoutMs: 60_000 }],
  ["attach", { vm, qmpPath: "/run/qmp.sock" }],
  ["migrate", { vm, to: "b", downtimeLimitMs: 300, timeoutMs: null, bitsPerSecond: 100_000_000 }],
  ["cancel", { vm }],
  ["generations", { vm }],
  ["prune", { vm, keep: 2 }],
  ["recover", { vm, generation: null, force: true }],
];

/** Input: name of a command, a line break, its body. */
export function controlRequests(): Target {
  return {
    name: "control-requests",
    seeds: bodies.map(([name, body]) => utf8(`${name}\n${JSON.stringify(body)}`)),
    mutate: (input, other, random) => {
      const [name, body] = cut(input);
      const [otherName, otherBody] = cut(other);
      const kept = random.oneIn(8) ? otherName : name;
      return concatBytes([kept, utf8("\n"), mutateJson(body, otherBody, random)]);
    },
    run: (input) => {
      const [nameBytes, body] = cut(input);
      const name = textOf(nameBytes);
      if (!Object.hasOwn(commands, name)) return "unknown";
      let value: unknown;
      try {
        value = JSON.parse(textOf(body));
      } catch {
        return "not JSON";
      }
      const found = commands[name].body.safeParse(value);
      if (!found.success) {
        const [issue] = found.error.issues;
        return `${name} ${issue.code} ${issue.path.join(".").slice(0, 40)}`;
      }
      const again = commands[name].body.safeParse(found.data);
      demand(
        again.success && isDeepStrictEqual(again.data, found.data),
        "what was accepted is not accepted again",
      );
      if (name === "define") {
        const { text, path } = found.data as { text: string; path: string };
        parseDefinition(text, path);
      }
      return `${name} accepted`;
    },
  };
}

/** Input: bytes of a connection. Afterwards the server still answers, and what it said are JSON lines. */
export async function controlServer(): Promise<Target> {
  const socketPath = join(workFolder(), "s");
  // A thread cannot set the umask, which is the process's; the socket lies in a folder of its own anyway.
  process.umask = () => 0o077;
  const server = await startControlServer(emptyAgent(socketPath));
  server.unref();
  const head = (name: string, length: number) =>
    `POST /v1/${name} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${length}\r\n\r\n`;
  const request = (name: string, body: Uint8Array) => concatBytes([utf8(head(name, body.length)), body]);
  const list = request("list", utf8("{}"));
  return {
    name: "control-server",
    seeds: [
      ...bodies.map(([name, body]) => request(name, utf8(JSON.stringify(body)))),
      utf8("POST /v1/show HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\n{}\n\r\n0\r\n\r\n"),
      utf8("GET /v1/list HTTP/1.1\r\nhost: x\r\n\r\n"),
    ],
    mutate: (input, other, random) => mutateRequest(input, other, random),
    run: async (input) => {
      const said = await converse(socketPath, input);
      const status = /^HTTP\/1\.1 (\d+)/.exec(said)?.[1] ?? "nothing";
      const last = /\n(\{"event":.*\})\r?\n/.exec(said)?.[1];
      if (last !== undefined) checkLine(last);
      demand(
        (await converse(socketPath, list)).includes('"event":"done"'),
        "the server does not answer any more",
      );
      const kind = last === undefined ? "" : last.replace(/"[^"]*web[^"]*"|\d+/g, "0").slice(0, 80);
      return `${status} ${kind}`;
    },
  };
}

/** An error for the client is one that somebody wrote, not an accident within. */
function checkLine(line: string): void {
  const { event, message } = JSON.parse(line) as { event: string; message?: string };
  demand(event === "done" || event === "error" || event === "progress", `an event of kind ${event}`);
  if (event === "error") demand(/^Cannot /.test(message ?? ""), `an error that says nothing: ${message}`);
}

/** Sends all bytes, then half-closes; what the server says until it closes, or has been silent. */
function converse(socketPath: string, bytes: Uint8Array): Promise<string> {
  return new Promise((resolve) => {
    let said = "";
    const socket = connect({ path: socketPath, allowHalfOpen: true });
    socket.setEncoding("utf8");
    socket.on("data", (text) => {
      said += text;
      // The end of a body in chunks: the connection itself may be kept for another request.
      if (said.endsWith("\r\n0\r\n\r\n")) socket.destroy();
    });
    socket.on("error", () => {});
    socket.on("close", () => resolve(said));
    socket.on("end", () => socket.destroy());
    socket.end(bytes);
  });
}

/** Mostly the body changes and its length is made right; else the head, or everything. */
function mutateRequest(input: Uint8Array, other: Uint8Array, random: Random): Uint8Array {
  const text = textOf(input);
  const end = text.indexOf("\r\n\r\n");
  if (end < 0 || random.oneIn(6))
    return mutateBytes(input, other, random, { tokens: httpTokens }).slice(0, 1 << 15);
  let head = text.slice(0, end);
  let body = utf8(text.slice(end + 4));
  if (random.oneIn(3)) head = textOf(mutateBytes(utf8(head), other, random, { tokens: httpTokens }));
  else body = mutateJson(body, utf8("{}"), random).slice(0, 1 << 15);
  if (!random.oneIn(8)) head = head.replace(/content-length: \d+/i, `content-length: ${body.length}`);
  return concatBytes([utf8(`${head}\r\n\r\n`), body]);
}

const httpTokens = [
  "content-length: 0\r\n",
  "content-length: 99999999999\r\n",
  "transfer-encoding: chunked\r\n",
  "expect: 100-continue\r\n",
  "connection: upgrade\r\nupgrade: websocket\r\n",
  "/v1/__proto__",
  "/v1/constructor",
  "/v1/list",
  "PUT ",
  "HTTP/0.9",
  "\r\n\r\n",
  "ffffffff\r\n",
  "\u0000",
].map(utf8);

/** An agent without VMs, as far as commands ask for it before they find that out. */
function emptyAgent(control: string): Agent {
  const agent = {
    config: { site: "a", control, peers: {}, store: workFolder() },
    log: { error: () => {}, info: () => {}, warn: () => {} },
    list: () => [],
    require: (name: string) => {
      throw new OperationError("usage", `Cannot find VM ${JSON.stringify(name)}`);
    },
    define: async (definition: { name: string }) => ({ name: definition.name }),
  };
  return agent as unknown as Agent;
}

function cut(input: Uint8Array): [Uint8Array, Uint8Array] {
  const at = input.indexOf(0x0a);
  return at < 0 ? [input, new Uint8Array(0)] : [input.slice(0, at), input.slice(at + 1)];
}

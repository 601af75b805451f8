/**
 * The local control interface: HTTP over a Unix socket that only its owner can open.
 *
 *     POST /v1/<command>    body: JSON    answer: JSON lines; the last one has "event":"done" or "event":"error"
 *
 * A client that goes away cancels a migration that has not been handed over.
 */

import { chmod, lstat, mkdir, rm } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { connect } from "node:net";
import { dirname } from "node:path";
import { ExitCode, messageOf, OperationError } from "../errors.ts";
import { checkSocketPath } from "../qemu/unix-socket.ts";
import type { Agent } from "./agent.ts";
import { type CommandContext, commands } from "./control-commands.ts";

const maxBodyBytes = 1 << 20;

/** Starts the control interface. Throws OperationError if another agent has the socket. */
export async function startControlServer(agent: Agent): Promise<Server> {
  const path = agent.config.control;
  try {
    await makeRoom(path);
  } catch (error) {
    throw socketError(path, error);
  }
  const server = createServer((request, response) => {
    handle(agent, request, response).catch((error) => {
      agent.log.error({ reason: messageOf(error) }, "a control request failed");
      response.destroy();
    });
  });
  const before = process.umask(0o177);
  try {
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(path, resolve);
    });
  } catch (error) {
    throw socketError(path, error);
  } finally {
    process.umask(before);
  }
  await chmod(path, 0o600);
  return server;
}

/** Removes what a dead agent left in the socket's place, and nothing else. */
async function makeRoom(path: string): Promise<void> {
  checkSocketPath(path);
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const found = await lstat(path).catch(() => null);
  if (found === null) return;
  if (!found.isSocket()) throw new Error("it is there and it is not a socket");
  if (await answers(path)) throw new Error("another agent listens there");
  await rm(path, { force: true });
}

function socketError(path: string, error: unknown): OperationError {
  if (error instanceof OperationError) return error;
  return new OperationError("failed", `Cannot use control socket ${path}: ${messageOf(error)}`);
}

async function handle(agent: Agent, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const gone = new AbortController();
  response.on("close", () => {
    if (!response.writableFinished) gone.abort();
  });
  const send = (line: object) => {
    if (!response.destroyed) response.write(`${JSON.stringify(line)}\n`);
  };
  response.setHeader("content-type", "application/x-ndjson");
  try {
    const name = /^\/v1\/([a-z]+)$/.exec(request.url ?? "")?.[1] ?? "";
    const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
    if (request.method !== "POST" || !command) {
      throw new OperationError("usage", `Cannot find control command ${JSON.stringify(name)}`);
    }
    const body = command.body.safeParse(await readJson(request));
    if (!body.success) {
      const [issue] = body.error.issues;
      throw new OperationError(
        "usage",
        `Cannot ${name}: ${issue.path.join(".") || "request"}: ${issue.message}`,
      );
    }
    const context: CommandContext = { agent, signal: gone.signal, send };
    send(await command.run(context, body.data));
  } catch (error) {
    const reason = error instanceof OperationError ? error.reason : "failed";
    send({ event: "error", reason, code: ExitCode[reason], message: messageOf(error) });
  }
  response.end();
}

async function readJson(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let total = 0;
  for await (const chunk of request) {
    total += chunk.length;
    // What is too long is read to its end and forgotten: leaving the loop would close the connection unanswered.
    if (total <= maxBodyBytes) chunks.push(chunk);
  }
  if (total > maxBodyBytes)
    throw new OperationError("usage", `Cannot read request: it exceeds ${maxBodyBytes} bytes`);
  try {
    return JSON.parse(Buffer.concat(chunks).toString("utf8") || "{}");
  } catch {
    throw new OperationError("usage", "Cannot read request: it is not JSON");
  }
}

/** True if somebody listens at the socket. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path);
    probe.once("connect", () => {
      probe.destroy();
      resolve(true);
    });
    probe.once("error", () => resolve(false));
  });
}

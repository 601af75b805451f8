/** Runs the compiled program as a process, as its users do. */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { Test } from "tap";
import { stringify } from "yaml";

/** The compiled entry: these tests run compiled too. */
const mainPath = fileURLToPath(new URL("../../cli/main.js", import.meta.url));

/** How a run of the program ended. */
export interface ProgramEnd {
  readonly code: number | null;
  readonly signal: string | null;
  readonly out: string;
  readonly err: string;
}

/** A running program. */
export interface Program {
  readonly child: ChildProcess;
  readonly end: Promise<ProgramEnd>;
}

export function spawnProgram(args: readonly string[], env: Record<string, string> = {}): Program {
  const { BFMIG_CONTROL: _control, ...rest } = process.env;
  // The test runner puts itself into every Node process through NODE_OPTIONS, which doubles the time that one takes.
  const child = spawn("env", ["-u", "NODE_OPTIONS", process.execPath, mainPath, ...args], {
    env: { ...rest, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let out = "";
  let err = "";
  child.stdout.setEncoding("utf8").on("data", (text) => {
    out += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text) => {
    err += text;
  });
  const end = once(child, "close").then(([code, signal]) => ({ code, signal, out, err }));
  return { child, end };
}

/** Runs the program to its end. */
export async function runProgram(args: readonly string[], env?: Record<string, string>): Promise<ProgramEnd> {
  return await spawnProgram(args, env).end;
}

/** The lines of a `--json` run. */
export function jsonLines({ out }: ProgramEnd): Record<string, unknown>[] {
  return out
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

/** Writes the configuration and the token of a site in plain text. Returns the configuration's path. */
export async function writeSite(folder: string, changes: object = {}): Promise<string> {
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "token"), "a token for this test\n", { mode: 0o600 });
  const config = {
    site: "a",
    store: "store",
    listen: "127.0.0.1:0",
    control: "agent.sock",
    insecure: true,
    token: { file: "token" },
    ...changes,
  };
  const path = join(folder, "site.yaml");
  await writeFile(path, stringify(config));
  return path;
}

/** An agent that is ready. It is ended with the test. */
export interface RunningAgent extends Program {
  readonly port: number;
  readonly control: string;
  /** What it has logged and not been asked for yet: resolves with the first line that matches. */
  logged(pattern: RegExp): Promise<string>;
}

/** Starts an agent from a configuration and waits until it is ready. */
export async function startAgent(t: Test, configPath: string): Promise<RunningAgent> {
  const program = spawnProgram(["agent", "--config", configPath, "--json"]);
  const { child, end } = program;
  t.teardown(async () => {
    child.kill("SIGKILL");
    await end;
  });
  const log: string[] = [];
  const changed = new Set<() => void>();
  createInterface({ input: child.stderr as NodeJS.ReadableStream }).on("line", (line) => {
    log.push(line);
    for (const look of changed) look();
  });
  const ready = once(createInterface({ input: child.stdout as NodeJS.ReadableStream }), "line");
  const first = await Promise.race([ready.then(([line]) => String(line)), end.then(({ err }) => err)]);
  const { port, control } = JSON.parse(first) as { port: number; control: string };
  const logged = (pattern: RegExp) =>
    new Promise<string>((resolve) => {
      const look = () => {
        const at = log.findIndex((line) => pattern.test(line));
        if (at < 0) return;
        changed.delete(look);
        resolve(log.splice(at, 1)[0]);
      };
      changed.add(look);
      look();
    });
  return { ...program, port, control, logged };
}

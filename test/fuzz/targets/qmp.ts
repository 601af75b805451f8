/** What QEMU says on its control socket: lines by themselves, and the client that waits for them. */

import { QmpClient } from "../../../cli/qemu/qmp-client.ts";
import {
  decodeMessage,
  LineSplitter,
  QmpClosedError,
  QmpError,
  QmpTimeoutError,
} from "../../../cli/qemu/qmp-messages.ts";
import { concatBytes } from "../../../src/bytes.ts";
import { FormatError } from "../../../src/errors.ts";
import { digestOf } from "../corpus.ts";
import { mutateBytes } from "../mutate-bytes.ts";
import { mutateJson } from "../mutate-text.ts";
import type { Random } from "../random.ts";
import { Random as Generator } from "../random.ts";
import { bucket, demand, type Target, textOf, utf8 } from "../target.ts";
import { HostileServer, joinScript, splitScript } from "./hostile-server.ts";

const lineBytesMax = 4096;
const greeting = {
  QMP: { version: { qemu: { major: 7, minor: 2, micro: 0 }, package: "" }, capabilities: ["oob"] },
};
const event = { event: "STOP", data: {}, timestamp: { seconds: 1, microseconds: 5 } };
const message = (value: object) => utf8(`${JSON.stringify(value)}\r\n`);
const examples = [
  greeting,
  event,
  { return: {}, id: 1 },
  { return: { running: true, status: "running" }, id: 2 },
  { return: [{ device: "disk0" }], id: 3 },
  { error: { class: "GenericError", desc: "no" }, id: 2 },
  { event: "MIGRATION", data: { status: "completed" } },
];

/** Input: lines. Cut at random they give the same messages. */
export function lines(): Target {
  return {
    name: "qmp-lines",
    seeds: [concatBytes(examples.map(message)), ...examples.map(message)],
    mutate: mutateLines,
    run: (input) => {
      const random = new Generator(digestOf(input));
      const pieces: Uint8Array[] = [];
      for (let at = 0; at < input.length; ) {
        const length = 1 + random.below(200);
        pieces.push(input.subarray(at, at + length));
        at += length;
      }
      const inOne = decoded([input]);
      const inParts = decoded(pieces);
      // A line that is too long is seen earlier in parts, so then only whole lines before it are compared.
      demand(
        inOne.error !== undefined || inOne.kinds.join() === inParts.kinds.join(),
        "chunks change the messages",
      );
      if (inOne.error !== undefined) throw inOne.error;
      return inOne.kinds.slice(0, 6).join(" ");
    },
  };
}

function decoded(pieces: readonly Uint8Array[]): { kinds: string[]; error: unknown } {
  const splitter = new LineSplitter(lineBytesMax);
  const kinds: string[] = [];
  try {
    for (const piece of pieces) {
      for (const line of splitter.push(piece)) {
        const found = decodeMessage(line);
        if (found.kind === "event")
          demand(typeof found.event.timestampMs === "number", "an event has no time");
        kinds.push(found.kind);
      }
    }
  } catch (error) {
    return { kinds, error };
  }
  return { kinds, error: undefined };
}

/** Input: what QEMU says at each command. */
export async function client(): Promise<Target> {
  const server = new HostileServer();
  await server.listen();
  const documented = [FormatError, QmpClosedError, QmpError, QmpTimeoutError];
  const isDocumented = (error: unknown) => documented.some((type) => error instanceof type);
  return {
    name: "qmp-client",
    isDocumented,
    seeds: [
      joinScript([
        message(greeting),
        message(examples[2]),
        message(examples[3]),
        concatBytes([message(event), message(examples[4])]),
      ]),
      joinScript([message(greeting), message(examples[2]), message(examples[5])]),
      joinScript([message(greeting), concatBytes([message(event), message(examples[2])])]),
    ],
    mutate: (input, other, random) => {
      const parts = splitScript(input);
      if (parts.length === 0 || random.oneIn(10)) return mutateBytes(input, other, random).slice(0, 8192);
      const at = random.below(parts.length);
      const choice = random.below(6);
      if (choice === 0) parts.splice(at, 1);
      else if (choice === 1) parts.splice(at, 0, random.pick(splitScript(other).concat(parts)));
      else parts[at] = mutateLines(parts[at], other, random).slice(0, 8192);
      return joinScript(parts);
    },
    run: async (input) => {
      server.script = splitScript(input);
      const qmp = await QmpClient.connect(server.socketPath, { timeoutMs: 1500 });
      const outcomes: string[] = [];
      let events = 0;
      qmp.onEvent(({ name }) => {
        demand(typeof name === "string", "an event has no name");
        events++;
      });
      try {
        for (const command of ["query-status", "query-block"]) {
          try {
            await qmp.execute(command, undefined, { timeoutMs: 1500 });
            outcomes.push("done");
          } catch (error) {
            if (!isDocumented(error)) throw error;
            outcomes.push((error as Error).name);
          }
        }
        return `${outcomes.join(" ")} ${bucket(events)}`;
      } finally {
        qmp.close();
        await qmp.closed;
      }
    },
  };
}

function mutateLines(input: Uint8Array, other: Uint8Array, random: Random): Uint8Array {
  const all = textOf(input)
    .split("\n")
    .filter((line) => line !== "");
  if (all.length === 0 || random.oneIn(5)) return mutateBytes(input, other, random);
  const at = random.below(all.length);
  const from = random.pick(textOf(other).split("\n"));
  if (random.oneIn(6)) all.splice(at, 0, from);
  else all[at] = textOf(mutateJson(utf8(all[at]), utf8(from), random));
  return utf8(`${all.join("\n")}\n`);
}

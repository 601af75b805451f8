/** The NBD client against a hostile server: every request settles, and with a documented error if it fails. */

import { NbdClient } from "../../../cli/nbd/client.ts";
import { concatBytes } from "../../../src/bytes.ts";
import {
  ack,
  blockSizeInfo,
  contextReply,
  dataChunk,
  errorChunk,
  exportInfo,
  GREETING,
  noneChunk,
  OptionCode,
  simpleReply,
  statusChunk,
} from "../../nbd/wire.ts";
import { mutateBytes } from "../mutate-bytes.ts";
import { isDocumented } from "../oracle.ts";
import { demand, type Target } from "../target.ts";
import { HostileServer, joinScript, splitScript } from "./hostile-server.ts";
import { nbdTokens } from "./nbd.ts";

const context = "base:allocation";

/** Input: what the server says at each word of the client. */
export async function nbdClient(): Promise<Target> {
  const server = new HostileServer();
  await server.listen();
  const opening = [
    GREETING,
    ack(OptionCode.structuredReply),
    concatBytes([contextReply(1, context), ack(OptionCode.setMetaContext)]),
    concatBytes([exportInfo(1 << 20), blockSizeInfo(1, 4096, 1 << 25), ack(OptionCode.go)]),
  ];
  const answers = [
    concatBytes([dataChunk(1, 0, new Uint8Array(512)), noneChunk(1)]),
    statusChunk(2, 1, [[1 << 16, 0]], true),
    simpleReply(3),
    simpleReply(4),
    simpleReply(5),
  ];
  return {
    name: "nbd-client",
    seeds: [
      joinScript([...opening, ...answers]),
      joinScript([...opening, errorChunk(1, 5, "no"), errorChunk(2, 22, ""), simpleReply(3, 28)]),
      joinScript(opening),
    ],
    mutate: (input, other, random) => {
      const parts = splitScript(input);
      const others = splitScript(other);
      if (parts.length === 0 || random.oneIn(10)) return mutateBytes(input, other, random).slice(0, 8192);
      const at = random.below(parts.length);
      const from = others[random.below(others.length)] ?? parts[at];
      const choice = random.below(6);
      if (choice === 0) parts.splice(at, 1);
      else if (choice === 1) parts.splice(at, 0, from);
      else
        parts[at] = mutateBytes(parts[at], from, random, { tokens: nbdTokens, bigEndian: true }).slice(
          0,
          8192,
        );
      return joinScript(parts);
    },
    run: async (input) => {
      server.script = splitScript(input);
      const client = await NbdClient.connect({
        socketPath: server.socketPath,
        exportName: "disk0",
        contexts: [context],
        timeoutMs: 1500,
      });
      const outcomes: string[] = [];
      const attempt = async (what: string, work: () => Promise<unknown>) => {
        try {
          await work();
          outcomes.push(what);
        } catch (error) {
          if (!isDocumented(error)) throw error;
          outcomes.push(`no ${what}`);
        }
      };
      try {
        const block = client.minimumBlockBytes;
        const length = Math.max(block, 512 - (512 % block));
        if (length > client.sizeBytes || length > client.maxRequestBytes) return "too small";
        const memory = new Uint8Array(length);
        const put = (at: number, bytes: Uint8Array) => {
          demand(at >= 0 && at + bytes.length <= length, "content lies outside of the read");
          memory.set(bytes, at);
        };
        await attempt("read", () => client.read(0, length, { data: put, hole: () => {} }));
        if (client.contexts.length > 0) await attempt("query", () => client.blockStatus(0, length));
        await attempt("write", () => client.write(0, memory));
        await attempt("zero", () => client.writeZeroes(0, length));
        await attempt("flush", () => client.flush());
        return outcomes.join(" ");
      } finally {
        client.destroy();
        const reason = await client.closed;
        demand(reason === null || isDocumented(reason), `it ended with ${String(reason)}`);
      }
    },
  };
}

/** What an NBD server says: the handshake, and replies. No sockets; see nbd-client.ts for the whole client. */

import { Dialogue } from "../../../cli/nbd/handshake.ts";
import { type NegotiatedExport, negotiate } from "../../../cli/nbd/negotiation.ts";
import { noContent, readContent, statusContent } from "../../../cli/nbd/reply-content.ts";
import { ReplyDecoder } from "../../../cli/nbd/reply-decoder.ts";
import { RequestTable } from "../../../cli/nbd/request-table.ts";
import { Command } from "../../../cli/nbd/vocabulary.ts";
import { concatBytes } from "../../../src/bytes.ts";
import { FormatError } from "../../../src/errors.ts";
import {
  ack,
  be32,
  be64,
  blockSizeInfo,
  contextReply,
  dataChunk,
  errorChunk,
  errorOffsetChunk,
  exportInfo,
  GREETING,
  holeChunk,
  noneChunk,
  OptionCode,
  optionReply,
  simpleReply,
  statusChunk,
} from "../../nbd/wire.ts";
import { digestOf } from "../corpus.ts";
import { mutateBytes } from "../mutate-bytes.ts";
import { Random } from "../random.ts";
import { bucket, demand, type Target } from "../target.ts";

const contexts = ["base:allocation", "qemu:dirty-bitmap:b"];
const diskBytes = 1 << 20;

/** Pieces of the protocol. */
export const nbdTokens = [
  be32(0x668e33ef),
  be32(0x67446698),
  be64(0x0003e889045565a9n),
  be32(0x80000001),
  ack(OptionCode.go),
  ack(OptionCode.setMetaContext),
  exportInfo(diskBytes),
  exportInfo(0),
  exportInfo((1n << 64n) - 1n),
  blockSizeInfo(1, 4096, 1 << 25),
  blockSizeInfo(512, 4096, 512),
  contextReply(7, contexts[0]),
  optionReply(OptionCode.go, 0x80000006),
  noneChunk(1),
  simpleReply(1),
  dataChunk(1, 0, new Uint8Array(9)),
  holeChunk(1, 0, 4096),
  errorChunk(1, 5, "no"),
];

/** All that a server says in a handshake that succeeds. */
export const greetings = [
  concatBytes([
    GREETING,
    ack(OptionCode.structuredReply),
    contextReply(1, contexts[0]),
    contextReply(2, contexts[1]),
    ack(OptionCode.setMetaContext),
    exportInfo(diskBytes),
    blockSizeInfo(1, 4096, 1 << 25),
    ack(OptionCode.go),
  ]),
  concatBytes([
    GREETING,
    ack(OptionCode.structuredReply),
    optionReply(OptionCode.setMetaContext, 0x80000001),
    exportInfo(diskBytes, 0b11),
    ack(OptionCode.go),
  ]),
];

/** Bytes of the server cut at random give the same as whole. */
export function handshake(): Target {
  return {
    name: "nbd-handshake",
    seeds: greetings,
    mutate: (input, other, random) =>
      mutateBytes(input, other, random, { tokens: nbdTokens, bigEndian: true }),
    run: (input) => {
      const inOne = negotiated(input, [input]);
      const inParts = negotiated(input, piecesOf(input));
      demand(inOne.text === inParts.text, `chunks change what is agreed: ${inOne.text} and ${inParts.text}`);
      if (inOne.error !== undefined) throw inOne.error;
      return inOne.text.replace(/\d+/g, (digits) => String(bucket(Number(digits))));
    },
  };
}

function negotiated(input: Uint8Array, pieces: readonly Uint8Array[]): { text: string; error: unknown } {
  let sentBytes = 0;
  let result: NegotiatedExport | null = null;
  try {
    const dialogue = new Dialogue(
      negotiate("disk0", contexts),
      (bytes) => {
        sentBytes += bytes.length;
      },
      (export_) => {
        result = export_;
      },
    );
    for (const piece of pieces) dialogue.push(piece);
  } catch (error) {
    return { text: String(error), error };
  }
  demand(sentBytes <= input.length + 1024, `it answered ${input.length} bytes with ${sentBytes}`);
  const found = result as NegotiatedExport | null;
  if (found === null) return { text: "waits", error: undefined };
  const { sizeBytes, minimumBlockBytes, maxRequestBytes } = found;
  demand(Number.isSafeInteger(sizeBytes) && minimumBlockBytes > 0, "a size or a block makes no sense");
  demand(maxRequestBytes > 0 && maxRequestBytes % minimumBlockBytes === 0, "no request fits");
  return { text: JSON.stringify({ ...found, contexts: [...found.contexts.values()] }), error: undefined };
}

/** Replies to six requests: a read, two queries, a write, a flush and another read. */
export function replies(): Target {
  const cookies = [1, 2, 3, 4, 5, 6];
  const seeds = [
    [dataChunk(1, 4096, new Uint8Array(4096).fill(7)), holeChunk(1, 8192, 4096), noneChunk(1)],
    [
      statusChunk(2, 1, [
        [65536, 0],
        [65536, 3],
      ]),
      statusChunk(2, 2, [[1 << 17, 1]], true),
    ],
    [statusChunk(3, 1, [[512, 0]]), errorChunk(3, 22, "no such thing.\n")],
    [simpleReply(4), simpleReply(5, 28)],
    [errorOffsetChunk(6, 5, "bad sector", 0x10000), simpleReply(4), noneChunk(5)],
  ].map(concatBytes);
  return {
    name: "nbd-replies",
    seeds: [...seeds, concatBytes(seeds.slice(0, 4))],
    mutate: (input, other, random) =>
      mutateBytes(input, other, random, { tokens: nbdTokens, bigEndian: true }),
    run: async (input) => {
      const inOne = await answers(cookies, [input]);
      const inParts = await answers(cookies, piecesOf(input));
      demand(inOne.text === inParts.text, `chunks change the answers: ${inOne.text} and ${inParts.text}`);
      if (inOne.error !== undefined) throw inOne.error;
      return inOne.text.replace(/\d+/g, (digits) => String(bucket(Number(digits))));
    },
  };
}

/** What becomes of the requests. */
async function answers(
  cookies: readonly number[],
  pieces: readonly Uint8Array[],
): Promise<{ text: string; error: unknown }> {
  const decoder = new ReplyDecoder();
  const table = new RequestTable();
  const settled: string[] = cookies.map(() => "waits");
  const memory = new Uint8Array(8192);
  let takenBytes = 0;
  const sink = {
    data: (at: number, bytes: Uint8Array) => {
      demand(at >= 0 && at + bytes.length <= memory.length, "content lies outside of the read");
      memory.set(bytes, at);
      takenBytes += bytes.length;
    },
    hole: (at: number, lengthBytes: number) => {
      demand(
        at >= 0 && lengthBytes > 0 && at + lengthBytes <= memory.length,
        "a hole lies outside of the read",
      );
      takenBytes += lengthBytes;
    },
  };
  const names = new Map([
    [1, "a"],
    [2, "b"],
  ]);
  const requests = [
    table.add(
      { command: Command.read, offset: 4096, lengthBytes: 8192 },
      "read",
      readContent(4096, 8192, sink),
    ),
    table.add(
      { command: Command.blockStatus, offset: 0, lengthBytes: 1 << 17 },
      "query",
      statusContent(1 << 17, diskBytes - (1 << 17), names),
    ),
    table.add(
      { command: Command.blockStatus, offset: 0, lengthBytes: 512 },
      "query",
      statusContent(512, 0, names),
    ),
    table.add({ command: Command.write, offset: 0, lengthBytes: 512 }, "write", noContent()),
    table.add({ command: Command.flush, offset: 0, lengthBytes: 0 }, "flush", noContent()),
    table.add(
      { command: Command.read, offset: 65536, lengthBytes: 4096 },
      "read",
      readContent(65536, 4096, { data: () => {}, hole: () => {} }),
    ),
  ];
  const waits = requests.map(({ answer }, i) =>
    (answer as Promise<unknown>).then(
      (value) => {
        settled[i] = value instanceof Map ? JSON.stringify([...value]) : "done";
      },
      (error: unknown) => {
        settled[i] = String(error);
      },
    ),
  );
  let error: unknown;
  try {
    for (const piece of pieces) for (const event of decoder.push(piece)) table.take(event);
  } catch (thrown) {
    error = thrown;
  }
  table.rejectAll(new Error("lost"));
  await Promise.all(waits);
  demand(
    settled[0] !== "done" || takenBytes === memory.length,
    "a read was answered though bytes are missing",
  );
  // How long the piece was that did not fit depends on the chunks, so only the error's code is compared.
  const ending = error instanceof FormatError ? error.code : String(error ?? "");
  return { text: `${settled.join(" | ")} ${ending}`, error };
}

function piecesOf(input: Uint8Array): Uint8Array[] {
  const random = new Random(digestOf(input));
  const longest = random.pick([1, 7, 100]);
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < input.length; ) {
    const length = 1 + random.below(longest);
    pieces.push(input.subarray(at, at + length));
    at += length;
  }
  return pieces;
}

import t from "tap";
import { Dialogue } from "../../cli/nbd/handshake.ts";
import { type NegotiatedExport, negotiate } from "../../cli/nbd/negotiation.ts";
import { concatBytes, toHex } from "../../src/bytes.ts";
import {
  ack,
  ascii,
  be16,
  be32,
  be64,
  blockSizeInfo,
  contextReply,
  exportInfo,
  GREETING,
  OptionCode,
  optionReply,
} from "./wire.ts";

const { structuredReply, setMetaContext, go } = OptionCode;
const MIB = 1024 * 1024;

/** Everything that a server says to a client that wants two contexts and gets one. */
const ANSWERS = [
  GREETING,
  ack(structuredReply),
  contextReply(3, "base:allocation"),
  ack(setMetaContext),
  blockSizeInfo(512, 4096, 2 * MIB + 100),
  exportInfo(10 * MIB),
  optionReply(go, 3, concatBytes([be16(2), ascii("a description")])),
  ack(go),
];
const WANTED = ["base:allocation", "qemu:dirty-bitmap:g1"];

/** Lets a client talk with recorded answers, and gives what it sent and came to. */
function talk(answers: Iterable<Uint8Array>, contexts: readonly string[] = []) {
  const sent: Uint8Array[] = [];
  const results: NegotiatedExport[] = [];
  const dialogue = new Dialogue(
    negotiate("disk0", contexts),
    (bytes) => sent.push(bytes),
    (result) => results.push(result),
  );
  for (const bytes of answers) dialogue.push(bytes);
  return { sent: toHex(concatBytes(sent)), results };
}

t.test("a client asks for what it needs and takes what it gets", async (t) => {
  const { sent, results } = talk(ANSWERS, WANTED);
  t.strictSame(results, [
    {
      sizeBytes: 10 * MIB,
      isReadOnly: false,
      canFlush: true,
      canWriteZeroes: true,
      minimumBlockBytes: 512,
      maxRequestBytes: 2 * MIB,
      contexts: new Map([[3, "base:allocation"]]),
    },
  ]);
  const option = (code: number, ...data: Uint8Array[]) => {
    const all = concatBytes(data);
    return concatBytes([ascii("IHAVEOPT"), be32(code), be32(all.length), all]);
  };
  const text = (value: string) => concatBytes([be32(value.length), ascii(value)]);
  const expected = [
    be32(3),
    option(8),
    option(10, text("disk0"), be32(2), ...WANTED.map(text)),
    option(7, text("disk0"), be16(1), be16(3)),
  ];
  t.equal(sent, toHex(concatBytes(expected)));
});

t.test("answers may come byte by byte", async (t) => {
  const bytes = [...concatBytes(ANSWERS)].map((byte) => Uint8Array.of(byte));
  t.strictSame(talk(bytes, WANTED), talk(ANSWERS, WANTED));
});

t.test("a handshake that is cut anywhere comes to nothing, without an error", async (t) => {
  const bytes = concatBytes(ANSWERS);
  for (let length = 0; length < bytes.length; length++) {
    t.equal(talk([bytes.subarray(0, length)], WANTED).results.length, 0);
  }
});

t.test("a server need not tell block sizes, nor know contexts", async (t) => {
  const unsupported = optionReply(setMetaContext, 0x8000_0001);
  const answers = [GREETING, ack(structuredReply), unsupported, exportInfo(4096, 0b11), ack(go)];
  const [result] = talk(answers, WANTED).results;
  t.match(result, { minimumBlockBytes: 1, maxRequestBytes: 32 * MIB, isReadOnly: true, canFlush: false });
  t.equal(result?.contexts.size, 0);
});

t.test("no contexts are asked for when none are wanted", async (t) => {
  t.equal(talk([GREETING, ack(structuredReply), exportInfo(4096), ack(go)]).results.length, 1);
});

t.test("what a server refuses is told with its name and its words", async (t) => {
  const unknown = optionReply(go, 0x8000_0006, ascii("export 'disk0' not present"));
  t.throws(() => talk([GREETING, ack(structuredReply), unknown]), {
    name: "OperationError",
    message: "Cannot open export disk0: the server says UNKNOWN: export 'disk0' not present",
  });
  t.throws(() => talk([GREETING, optionReply(structuredReply, 0x8000_0005)]), {
    name: "OperationError",
    message: "Cannot open export disk0 with structured replies: the server says TLS_REQD",
  });
  t.throws(() => talk([GREETING, ack(structuredReply), optionReply(setMetaContext, 0x8000_0063)], WANTED), {
    name: "OperationError",
    message: "Cannot select contexts of export disk0: the server says error 0x80000063",
  });
});

t.test("a name that cannot be sent is refused", async (t) => {
  t.throws(() => talk([GREETING, ack(structuredReply)], ["x".repeat(4097)]), {
    name: "OperationError",
    message: /as a name in NBD/,
  });
  t.throws(() => talk([GREETING, ack(structuredReply)], ["a\0b"]), {
    name: "OperationError",
    message: /as a name in NBD/,
  });
});

const ready = [GREETING, ack(structuredReply)];
const BAD: readonly (readonly [
  what: string,
  answers: readonly Uint8Array[],
  code: string,
  message: RegExp,
])[] = [
  ["another protocol", [ascii("HTTP/1.1 400 Bad Request")], "bad-magic", /not an NBD server/],
  ["the old style", [ascii("NBDMAGIC"), be64(0x00420281861253n), be16(0)], "unsupported", /fixed newstyle/],
  ["a newstyle that is not fixed", [ascii("NBDMAGICIHAVEOPT"), be16(0)], "unsupported", /fixed newstyle/],
  ["a reply with a wrong magic", [GREETING, GREETING, be16(0)], "bad-magic", /wrong magic/],
  ["a reply to another option", [GREETING, ack(go)], "bad-value", /another option/],
  [
    "a reply beyond the limit",
    [GREETING, optionReply(structuredReply, 3, new Uint8Array(5000))],
    "bad-length",
    /5000 bytes exceeds/,
  ],
  [
    "a context that is cut",
    [...ready, optionReply(setMetaContext, 4, be16(0)), ack(setMetaContext)],
    "bad-length",
    /too short/,
  ],
  [
    "a context that nobody wants",
    [...ready, contextReply(1, "x:y"), ack(setMetaContext)],
    "bad-value",
    /nobody asked for the context x:y/,
  ],
  [
    "two contexts with one id",
    [...ready, ...WANTED.map((name) => contextReply(1, name)), ack(setMetaContext)],
    "bad-value",
    /not unique/,
  ],
];

const BAD_INFOS: typeof BAD = [
  ["a server that never ends", Array(256).fill(exportInfo(1)), "bad-length", /more than 256 replies/],
  ["no size", [ack(go)], "bad-value", /does not tell the size/],
  ["a size beyond every disk", [exportInfo(2n ** 63n), ack(go)], "unsupported", /too large/],
  ["an information that is cut", [optionReply(go, 3, new Uint8Array(1)), ack(go)], "bad-length", /too short/],
  ["a size that is cut", [optionReply(go, 3, new Uint8Array(4)), ack(go)], "bad-length", /wrong length/],
  ["block sizes that are cut", [optionReply(go, 3, be32(0x30000)), ack(go)], "bad-length", /wrong length/],
  ["blocks of no power of two", [blockSizeInfo(3, 4, 4096), ack(go)], "bad-value", /blocks of 3 bytes/],
  ["blocks of no bytes", [blockSizeInfo(0, 4, 4096), ack(go)], "bad-value", /blocks of 0 bytes/],
  ["enormous blocks", [blockSizeInfo(2 ** 31, 4, 4096), ack(go)], "bad-value", /make no sense/],
  ["payloads smaller than a block", [blockSizeInfo(4096, 4096, 512), ack(go)], "bad-value", /make no sense/],
  ["words behind the end", [exportInfo(1), ack(go), be16(0)], "bad-value", /goes on behind its end/],
];

for (const [what, answers, code, message] of BAD) {
  t.test(`${what} ends the handshake with a FormatError`, async (t) => {
    t.throws(() => talk(answers, WANTED), { name: "FormatError", code, message });
  });
}

for (const [what, answers, code, message] of BAD_INFOS) {
  t.test(`${what} ends the handshake with a FormatError`, async (t) => {
    t.throws(() => talk([...ready, ...answers]), { name: "FormatError", code, message });
  });
}

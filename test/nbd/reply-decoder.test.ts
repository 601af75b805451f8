import fc from "fast-check";
import t from "tap";
import { ReplyDecoder, type ReplyEvent } from "../../cli/nbd/reply-decoder.ts";
import { concatBytes } from "../../src/bytes.ts";
import { FormatError } from "../../src/errors.ts";
import {
  be16,
  be32,
  be64,
  chunk,
  dataChunk,
  errorChunk,
  errorOffsetChunk,
  errorPayload,
  holeChunk,
  noneChunk,
  simpleReply,
  statusChunk,
} from "./wire.ts";

const CONTENT = Uint8Array.from({ length: 40 }, (_, i) => i);

/** One of everything. */
const STREAM = concatBytes([
  simpleReply(1),
  simpleReply(2, 28),
  dataChunk(3, 4096, CONTENT),
  holeChunk(3, 8192, 512),
  noneChunk(3),
  statusChunk(4, 9, [
    [65536, 0],
    [512, 3],
  ]),
  statusChunk(4, 10, [[65536, 1]], true),
  errorOffsetChunk(5, 5, "bad sector", 1024, false),
  errorChunk(5, 5, "", true),
  chunk(6, 0x8fff, concatBytes([errorPayload(22, "new kind"), be64(1), be64(2)]), true),
]);

const EVENTS = [
  { kind: "simple", cookie: 1, errorCode: 0 },
  { kind: "simple", cookie: 2, errorCode: 28 },
  { kind: "data", cookie: 3, offset: 4096, bytes: [...CONTENT] },
  { kind: "hole", cookie: 3, offset: 8192, lengthBytes: 512 },
  { kind: "done", cookie: 3 },
  { kind: "status", cookie: 4, contextId: 9 },
  { kind: "extent", cookie: 4, lengthBytes: 65536, flags: 0 },
  { kind: "extent", cookie: 4, lengthBytes: 512, flags: 3 },
  { kind: "status", cookie: 4, contextId: 10 },
  { kind: "extent", cookie: 4, lengthBytes: 65536, flags: 1 },
  { kind: "done", cookie: 4 },
  { kind: "error", cookie: 5, errorCode: 5, text: "bad sector", offset: 1024 },
  { kind: "error", cookie: 5, errorCode: 5, text: "", offset: null },
  { kind: "done", cookie: 5 },
  { kind: "error", cookie: 6, errorCode: 22, text: "new kind", offset: null },
  { kind: "done", cookie: 6 },
];

type PlainEvent = Record<string, unknown>;

/** Pushes chunks; pieces of content that follow each other are joined, as their borders mean nothing. */
function decode(decoder: ReplyDecoder, chunks: Iterable<Uint8Array>): PlainEvent[] {
  const events: PlainEvent[] = [];
  for (const bytes of chunks) {
    for (const event of decoder.push(bytes)) append(events, event);
  }
  return events;
}

function append(events: PlainEvent[], event: ReplyEvent): void {
  const last = events.at(-1);
  if (event.kind !== "data") events.push({ ...event });
  else if (last?.["kind"] === "data") (last["bytes"] as number[]).push(...event.bytes);
  else events.push({ ...event, bytes: [...event.bytes] });
}

function* cut(bytes: Uint8Array, sizes: Iterable<number>): Generator<Uint8Array> {
  let at = 0;
  for (const size of sizes) {
    if (at >= bytes.length) return;
    yield bytes.subarray(at, at + size);
    at += size;
  }
  yield bytes.subarray(at);
}

t.test("all kinds of replies are decoded from one chunk", async (t) => {
  const decoder = new ReplyDecoder();
  t.strictSame(decode(decoder, [STREAM]), EVENTS);
});

t.test("the same comes of single bytes", async (t) => {
  const decoder = new ReplyDecoder();
  t.strictSame(decode(decoder, cut(STREAM, Array(STREAM.length).fill(1))), EVENTS);
});

t.test("the same comes of chunks of any sizes, also when their memory is used again", async (t) => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 60 })), (sizes) => {
      const buffer = new Uint8Array(STREAM.length);
      const reused = function* () {
        for (const bytes of cut(STREAM, sizes)) {
          buffer.fill(0xee);
          buffer.set(bytes);
          yield buffer.subarray(0, bytes.length);
        }
      };
      t.strictSame(decode(new ReplyDecoder(), reused()), EVENTS);
    }),
    { numRuns: 200 },
  );
});

t.test("a stream that ends anywhere gives the first events, and the rest gives the others", async (t) => {
  for (let length = 0; length <= STREAM.length; length++) {
    const decoder = new ReplyDecoder();
    const first = decode(decoder, [STREAM.subarray(0, length)]);
    const all = decode(decoder, [STREAM.subarray(length)]);
    const [head] = all;
    const last = first.at(-1);
    if (last?.["kind"] === "data" && head?.["kind"] === "data") {
      (last["bytes"] as number[]).push(...(head["bytes"] as number[]));
      all.shift();
    }
    t.strictSame([...first, ...all], EVENTS, `cut at ${length}`);
  }
});

t.test("one flipped bit never gives anything but events or a FormatError", async (t) => {
  for (let bit = 0; bit < STREAM.length * 8; bit++) {
    const broken = STREAM.slice();
    broken[bit >>> 3]! ^= 1 << (bit & 7);
    try {
      decode(new ReplyDecoder(), [broken]);
    } catch (error) {
      if (!(error instanceof FormatError)) t.fail(`bit ${bit}`, { error });
    }
  }
});

const BAD: readonly (readonly [what: string, bytes: Uint8Array, code: string, message: RegExp])[] = [
  ["a wrong magic", be32(0x12345678), "bad-magic", /0x12345678 begins no reply \(at byte 4\)/],
  ["a NONE that is not done", chunk(1, 0, be32(0).subarray(4), false), "bad-value", /not flagged as done/],
  ["a NONE with a payload", chunk(1, 0, be32(0), true), "bad-length", /type 0 has 4 bytes/],
  ["an unknown type", chunk(1, 3, be32(0), true), "unsupported", /type 3 is unknown/],
  ["data without a byte", chunk(1, 1, be64(0), true), "bad-length", /type 1 has 8 bytes/],
  ["data beyond the limit", chunk(1, 1, be64(0), true, 0xffff_ffff), "bad-length", /has 4294967295 bytes/],
  ["a hole of a wrong length", chunk(1, 2, be64(0), true), "bad-length", /type 2 has 8 bytes/],
  ["an empty hole", holeChunk(1, 0, 0), "bad-length", /a hole is empty/],
  ["an offset beyond every disk", dataChunk(1, 2n ** 63n, CONTENT), "bad-value", /beyond every disk/],
  ["a status without extents", statusChunk(1, 1, []), "bad-length", /type 5 has 4 bytes/],
  ["a status that is cut", chunk(1, 5, new Uint8Array(13), true), "bad-length", /type 5 has 13 bytes/],
  [
    "a status beyond the limit",
    chunk(1, 5, new Uint8Array(0), true, 4 + 8 * (2 ** 20 + 1)),
    "bad-length",
    /has 8388620 bytes/,
  ],
  ["an empty extent", statusChunk(1, 1, [[0, 1]]), "bad-length", /an extent is empty/],
  ["an error without a code", errorChunk(1, 0, "fine"), "bad-value", /has the code 0/],
  ["an error that is too short", chunk(1, 0x8001, be32(5), true), "bad-length", /has 4 bytes/],
  ["an error beyond the limit", chunk(1, 0x8001, be32(5), true, 100_000), "bad-length", /has 100000 bytes/],
  [
    "a text longer than its chunk",
    chunk(1, 0x8001, concatBytes([be32(5), be16(2)]), true),
    "bad-length",
    /a text of 2 bytes/,
  ],
  [
    "an error that lacks its offset",
    chunk(1, 0x8002, errorPayload(5, "abc"), true),
    "bad-length",
    /no offset where it should/,
  ],
];

for (const [what, bytes, code, message] of BAD) {
  t.test(`${what} is refused, whole and byte by byte, and stays refused`, async (t) => {
    for (const size of [bytes.length, 1]) {
      const decoder = new ReplyDecoder();
      const pushAll = () => decode(decoder, cut(bytes, Array(bytes.length).fill(size)));
      t.throws(pushAll, { name: "FormatError", code, message });
      t.throws(() => decode(decoder, [simpleReply(1)]), { name: "FormatError", code, message });
    }
  });
}

t.test("texts of a server are made fit for a terminal", async (t) => {
  const [event] = decode(new ReplyDecoder(), [errorChunk(1, 5, "one\x1b[2J\r\ntwo. ")]);
  t.match(event, { text: "one [2J two" });
});

t.test("a cookie beyond 2^53 is not taken for a small one", async (t) => {
  const [event] = decode(new ReplyDecoder(), [simpleReply(2n ** 63n + 1n)]);
  t.ok((event?.["cookie"] as number) > 2 ** 60);
});

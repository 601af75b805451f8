import fc from "fast-check";
import t from "tap";
import { noContent, type ReadSink, readContent, statusContent } from "../../cli/nbd/reply-content.ts";
import { ReplyDecoder } from "../../cli/nbd/reply-decoder.ts";
import { encodeRequest, RequestTable } from "../../cli/nbd/request-table.ts";
import { concatBytes, toHex } from "../../src/bytes.ts";
import {
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

const READ = 0;
const WRITE = 1;
const STATUS = 7;

/** A sink that fills memory; bytes that did not come are 0xaa. */
function memorySink(lengthBytes: number): { memory: Uint8Array; sink: ReadSink } {
  const memory = new Uint8Array(lengthBytes).fill(0xaa);
  return {
    memory,
    sink: {
      data: (at, bytes) => memory.set(bytes, at),
      hole: (at, length) => memory.fill(0, at, at + length),
    },
  };
}

function feed(table: RequestTable, ...bytes: Uint8Array[]): void {
  const decoder = new ReplyDecoder();
  for (const event of decoder.push(concatBytes(bytes))) table.take(event);
}

/** A table with the read of 100 bytes at 1000 as its request 1. */
function tableWithRead() {
  const table = new RequestTable();
  const { memory, sink } = memorySink(100);
  const request = { command: READ, offset: 1000, lengthBytes: 100 };
  const { answer } = table.add(request, "read", readContent(1000, 100, sink));
  return { table, memory, answer };
}

function tableWithStatus() {
  const table = new RequestTable();
  const contexts = new Map([
    [7, "base:allocation"],
    [9, "qemu:dirty-bitmap:g1"],
  ]);
  const request = { command: STATUS, offset: 0, lengthBytes: 1000 };
  const { answer } = table.add(request, "query", statusContent(1000, 500, contexts));
  return { table, answer };
}

t.test("a request is encoded as the protocol draws it", async (t) => {
  const request = { command: 6, commandFlags: 2, offset: 2 ** 40 + 1, lengthBytes: 0xffff_f000 };
  const expected = "25609513 0002 0006 0000000000000011 0000010000000001 fffff000";
  t.equal(toHex(encodeRequest(request, 17)), expected.replaceAll(" ", ""));
});

t.test("chunks of a read may come in any order", async (t) => {
  const { table, memory, answer } = tableWithRead();
  const bytes = new Uint8Array(30).fill(5);
  feed(
    table,
    dataChunk(1, 1070, bytes),
    holeChunk(1, 1000, 50),
    dataChunk(1, 1050, bytes.subarray(10), true),
  );
  await answer;
  t.ok(memory.subarray(0, 50).every((byte) => byte === 0));
  t.ok(memory.subarray(50).every((byte) => byte === 5));
});

interface PlannedRead {
  readonly offset: number;
  readonly pieces: readonly { lengthBytes: number; isHole: boolean }[];
}

t.test("replies of several reads in any interleaving, order and cutting give each its bytes", async () => {
  const piece = fc.record({ lengthBytes: fc.integer({ min: 1, max: 50 }), isHole: fc.boolean() });
  const read = fc.record({
    offset: fc.integer({ min: 0, max: 2 ** 40 }),
    pieces: fc.array(piece, { minLength: 1, maxLength: 8 }),
  });
  const seeds = fc.array(fc.nat(), { minLength: 200, maxLength: 200 });
  await fc.assert(
    fc.asyncProperty(fc.array(read, { minLength: 1, maxLength: 6 }), seeds, async (reads, random) => {
      let drawn = 0;
      const draw = (below: number) => random[drawn++ % random.length]! % below;
      const table = new RequestTable();
      const expectations: { promise: Promise<void>; memory: Uint8Array; expected: Uint8Array }[] = [];
      const queues: Uint8Array[][] = reads.map((plan) => planReply(plan, table, expectations, draw));
      const stream: Uint8Array[] = [];
      for (let open = queues.filter((q) => q.length > 0); open.length > 0; ) {
        stream.push(open[draw(open.length)]!.shift()!);
        open = open.filter((queue) => queue.length > 0);
      }
      const bytes = concatBytes(stream);
      const decoder = new ReplyDecoder();
      for (let at = 0; at < bytes.length; ) {
        const size = 1 + draw(90);
        for (const event of decoder.push(bytes.subarray(at, at + size))) table.take(event);
        at += size;
      }
      for (const { promise, memory, expected } of expectations) {
        await promise;
        if (toHex(memory) !== toHex(expected)) throw new Error("wrong bytes");
      }
      await table.whenIdle();
    }),
    { numRuns: 300 },
  );
});

function planReply(
  plan: PlannedRead,
  table: RequestTable,
  expectations: { promise: Promise<void>; memory: Uint8Array; expected: Uint8Array }[],
  draw: (below: number) => number,
): Uint8Array[] {
  const lengthBytes = plan.pieces.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0);
  const { memory, sink } = memorySink(lengthBytes);
  const expected = new Uint8Array(lengthBytes);
  const request = { command: READ, offset: plan.offset, lengthBytes };
  const content = readContent(plan.offset, lengthBytes, sink);
  const { cookie, answer } = table.add(request, "read", content);
  const chunks: Uint8Array[] = [];
  let at = 0;
  for (const { lengthBytes, isHole } of plan.pieces) {
    for (let i = at; !isHole && i < at + lengthBytes; i++) expected[i] = draw(256);
    const bytes = expected.slice(at, at + lengthBytes);
    const made = isHole
      ? holeChunk(cookie, plan.offset + at, lengthBytes)
      : dataChunk(cookie, plan.offset + at, bytes);
    chunks.splice(draw(chunks.length + 1), 0, made);
    at += lengthBytes;
  }
  // The end is a chunk of its own, or a flag of the last one.
  if (draw(2) === 0) chunks.push(noneChunk(cookie));
  else chunks.at(-1)![5] = 1;
  expectations.push({ promise: answer, memory, expected });
  return chunks;
}

t.test("an error of the server rejects its request only, with its name and text", async (t) => {
  const { table, answer } = tableWithRead();
  const action = "write 65536 bytes at 4096 of export disk0";
  const request = { command: WRITE, offset: 4096, lengthBytes: 65536 };
  const write = table.add(request, action, noContent());
  feed(table, errorChunk(write.cookie, 28, "No space left on device"));
  await t.rejects(write.answer, {
    name: "OperationError",
    message:
      "Cannot write 65536 bytes at 4096 of export disk0: the server says ENOSPC: No space left on device",
  });
  feed(table, holeChunk(1, 1000, 100, true));
  await answer;
});

t.test("errors without text, of unknown numbers and of simple replies are told too", async (t) => {
  for (const [errorCode, name] of [
    [1, "EPERM"],
    [5, "EIO"],
    [22, "EINVAL"],
    [108, "ESHUTDOWN"],
    [9999, "error 9999"],
  ] as const) {
    const { table, answer } = tableWithRead();
    feed(table, simpleReply(1, errorCode));
    await t.rejects(answer, { name: "OperationError", message: `Cannot read: the server says ${name}` });
  }
});

t.test("the first of several errors counts, and content may come around them", async (t) => {
  const { table, answer } = tableWithRead();
  feed(
    table,
    holeChunk(1, 1000, 10),
    errorOffsetChunk(1, 5, "bad sector", 1010, false),
    chunk(1, 0x8777, errorPayload(22, "another"), false),
    dataChunk(1, 1020, new Uint8Array(4), true),
  );
  await t.rejects(answer, { message: "Cannot read: the server says EIO: bad sector" });
});

t.test("a status tells each context's extents, with equal neighbours as one", async (t) => {
  const { table, answer } = tableWithStatus();
  const dirty: [number, number][] = [
    [100, 1],
    [200, 1],
    [50, 0],
  ];
  feed(table, statusChunk(1, 9, dirty), statusChunk(1, 7, [[1000, 3]], true));
  const extents = await answer;
  t.strictSame(extents.get("base:allocation"), [{ lengthBytes: 1000, flags: 3 }]);
  t.strictSame(extents.get("qemu:dirty-bitmap:g1"), [
    { lengthBytes: 300, flags: 1 },
    { lengthBytes: 50, flags: 0 },
  ]);
});

t.test("the last extent of a status is cut where the query ends", async (t) => {
  const { table, answer } = tableWithStatus();
  feed(
    table,
    statusChunk(1, 9, [[1500, 1]]),
    statusChunk(
      1,
      7,
      [
        [900, 0],
        [101, 3],
      ],
      true,
    ),
  );
  const extents = await answer;
  t.strictSame(extents.get("qemu:dirty-bitmap:g1"), [{ lengthBytes: 1000, flags: 1 }]);
  t.strictSame(extents.get("base:allocation"), [
    { lengthBytes: 900, flags: 0 },
    { lengthBytes: 100, flags: 3 },
  ]);
});

const BAD_READS: readonly (readonly [what: string, bytes: Uint8Array, message: RegExp])[] = [
  ["an unknown cookie", noneChunk(2), /no request has the cookie 2/],
  [
    "data before the request",
    dataChunk(1, 999, new Uint8Array(2)),
    /2 bytes at 999 .* outside of the request/,
  ],
  ["data behind the request", dataChunk(1, 1099, new Uint8Array(2)), /2 bytes at 1099 .* outside/],
  ["a hole behind the request", holeChunk(1, 1000, 101), /a hole of 101 bytes at 1000 .* outside/],
  [
    "data that comes twice",
    concatBytes([holeChunk(1, 1010, 10), dataChunk(1, 1000, new Uint8Array(11))]),
    /a part of it came before/,
  ],
  ["data that do not cover the request", holeChunk(1, 1000, 99, true), /does not cover the read/],
  ["success without data", noneChunk(1), /does not cover the read/],
  ["a simple success", simpleReply(1), /does not cover the read/],
  ["extents", statusChunk(1, 7, [[1, 1]]), /a read is answered with extents/],
  ["an error outside of the request", errorOffsetChunk(1, 5, "", 1100), /an error at 1100/],
  ["a second end", concatBytes([holeChunk(1, 1000, 100, true), noneChunk(1)]), /no request has the cookie 1/],
];

for (const [what, bytes, message] of BAD_READS) {
  t.test(`a read that is answered with ${what} is a FormatError`, async (t) => {
    const { table } = tableWithRead();
    t.throws(() => feed(table, bytes), { name: "FormatError", message });
  });
}

const BAD_STATUS: readonly (readonly [what: string, bytes: Uint8Array, message: RegExp])[] = [
  ["an unknown context", statusChunk(1, 8, [[1, 1]]), /nobody asked for the context with the id 8/],
  [
    "a context twice",
    concatBytes([statusChunk(1, 7, [[1, 1]]), statusChunk(1, 7, [[1, 1]])]),
    /has the context base:allocation twice/,
  ],
  ["only one of two contexts", statusChunk(1, 7, [[1, 1]], true), /lacks the context qemu:dirty-bitmap:g1/],
  [
    "an extent behind the query",
    statusChunk(1, 7, [
      [1000, 1],
      [1, 0],
    ]),
    /begins behind the query/,
  ],
  ["an extent behind the disk", statusChunk(1, 7, [[1501, 1]]), /ends behind the disk/],
  ["data", dataChunk(1, 0, new Uint8Array(1)), /a query is answered with content of kind data/],
];

for (const [what, bytes, message] of BAD_STATUS) {
  t.test(`a query that is answered with ${what} is a FormatError`, async (t) => {
    const { table } = tableWithStatus();
    t.throws(() => feed(table, bytes), { name: "FormatError", message });
  });
}

t.test("a write that is answered with content is a FormatError", async (t) => {
  const table = new RequestTable();
  table.add({ command: WRITE, offset: 0, lengthBytes: 1 }, "write", noContent());
  t.throws(() => feed(table, holeChunk(1, 0, 1)), { name: "FormatError", message: /content of kind hole/ });
});

t.test("all that wait are rejected together", async (t) => {
  const { table, answer } = tableWithRead();
  const idle = table.whenIdle();
  table.rejectAll(new Error("gone"));
  await t.rejects(answer, { message: "gone" });
  await idle;
});

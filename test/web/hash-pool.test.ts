import t from "tap";
import type { HashAnswer, HashMessage, HashRequest } from "../../cli/web/verify-page/hash-messages.ts";
import { HashPool, type HashPort, workersFor } from "../../cli/web/verify-page/hash-pool.ts";
import { ReadAhead, sliceBytes } from "../../cli/web/verify-page/read-ahead.ts";
import { compileCore } from "../../src/core.ts";
import { FormatError } from "../../src/errors.ts";
import { accessBytes, SourceError } from "../../src/verify/random-access.ts";

const pagesPerSlice = sliceBytes / 4096;
const key = new Uint8Array(32);
const input = new ReadAhead().access(new Blob([new Uint8Array(5)]));
const module = await compileCore();

/** A worker that keeps what it is told until the test answers for it. */
class Port implements HashPort {
  readonly told: HashMessage[] = [];
  private readonly heard: { message: ((event: { data: HashAnswer }) => void)[]; error: (() => void)[] } = {
    message: [],
    error: [],
  };

  get requests(): HashRequest[] {
    return this.told.filter((message) => message.type === "hash");
  }

  postMessage(message: HashMessage): void {
    this.told.push(message);
  }

  addEventListener(type: "message" | "error", hear: (event: { data: HashAnswer }) => void): void {
    if (type === "message") this.heard.message.push(hear);
    else this.heard.error.push(hear as () => void);
  }

  answer(data: HashAnswer): void {
    for (const hear of this.heard.message) hear({ data });
  }

  fail(): void {
    for (const hear of this.heard.error) hear();
  }
}

const range = (firstPage: number, count: number) => {
  return { key, input, firstPage, count, out: new Uint8Array(16 * count) };
};

t.test("slices go round the workers, and each answer reaches the range that it is for", async (t) => {
  const ports = [new Port(), new Port()];
  const pool = new HashPool(ports, module);
  for (const { told } of ports) t.strictSame(told, [{ type: "module", module }]);
  const ranges = [0, 1, 2, 3].map((i) => range((i * pagesPerSlice) / 2, 2));
  const done = Promise.all(ranges.map((one) => pool.digestPages(one)));
  t.strictSame(
    ports.map(({ requests }) => requests.map(({ firstPage }) => firstPage / pagesPerSlice)),
    [
      [0, 0.5],
      [1, 1.5],
    ],
  );
  t.equal(new Set(ports.flatMap(({ requests }) => requests.map(({ file }) => file))).size, 1, "one file");
  for (const port of ports.toReversed()) {
    for (const { id, firstPage } of port.requests) {
      port.answer({ id, digests: new Uint8Array(32).fill(firstPage >> 10) });
    }
  }
  await done;
  t.strictSame(
    ranges.map(({ out }) => out),
    ranges.map(({ firstPage }) => new Uint8Array(32).fill(firstPage >> 10)),
  );
  pool.rest();
  for (const { told } of ports) t.strictSame(told.at(-1), { type: "rest" });
});

t.test("a range that fails says why, and the next one is not concerned", async (t) => {
  const port = new Port();
  const pool = new HashPool([port], module);
  const attempt = (answer: (id: number) => HashAnswer): Promise<void> => {
    const result = pool.digestPages(range(0, 1));
    port.answer(answer(port.requests.at(-1)?.id ?? 0));
    return result;
  };
  await t.rejects(
    attempt((id) => ({ id, failure: { kind: "format", code: "truncated", message: "it ends" } })),
    new FormatError("truncated", "it ends"),
  );
  await t.rejects(
    attempt((id) => ({ id, failure: { kind: "source", message: "it is gone" } })),
    new SourceError("it is gone"),
  );
  await t.rejects(
    attempt((id) => ({ id, failure: { kind: "broken", message: "no memory" } })),
    /Cannot hash: no memory/,
  );
  await t.resolves(attempt((id) => ({ id, digests: new Uint8Array(16) })));
});

t.test("a worker that breaks ends what is under way and what comes after", async (t) => {
  const ports = [new Port(), new Port()];
  const pool = new HashPool(ports, module);
  const underWay = [0, pagesPerSlice].map((firstPage) => pool.digestPages(range(firstPage, 1)));
  ports[1].fail();
  for (const one of underWay) await t.rejects(one, /one of its workers failed/);
  await t.rejects(pool.digestPages(range(0, 1)), /one of its workers failed/);
  t.equal(ports[0].requests.length, 1, "nothing more was asked for");
});

t.test("a range that is not possible is refused", async (t) => {
  const pool = new HashPool([new Port()], module);
  await t.rejects(pool.digestPages(range(0, 0)), RangeError);
  await t.rejects(pool.digestPages(range(0, 2049)), RangeError);
  await t.rejects(pool.digestPages({ ...range(0, 2), out: new Uint8Array(31) }), RangeError);
  await t.rejects(pool.digestPages({ ...range(0, 1), input: accessBytes(new Uint8Array(4096)) }), TypeError);
});

t.test("there is one worker more than processors, up to four", async (t) => {
  t.strictSame([1, 2, 3, 64].map(workersFor), [2, 3, 4, 4]);
});

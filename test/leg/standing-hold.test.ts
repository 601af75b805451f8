import t from "tap";
import { holdMarginBytes, holdPage } from "../../cli/leg/standing-hold.ts";

const zero = new Uint8Array(16).fill(7);
const pageOnStream = 8 + 4096;

/** Digests of a memory: `z` is a zero page, anything else is not. */
function memory(picture: string): Uint8Array {
  const digests = new Uint8Array(picture.length * 16);
  for (const [page, kind] of [...picture].entries())
    digests.fill(kind === "z" ? 7 : 1 + page, page * 16, page * 16 + 16);
  return digests;
}

t.test("reading stops when just more than the margin is left", async (t) => {
  const digests = memory("x".repeat(6));
  t.equal(holdPage(digests, zero, 2 * pageOnStream), 3, "pages 4 and 5 are after it");
  t.equal(holdPage(digests, zero, 2 * pageOnStream + 1), 2, "a byte more needs a page more");
  t.equal(holdPage(digests, zero, 0), 5);
});

t.test("zero pages hardly count: they take nine bytes each", async (t) => {
  t.equal(holdPage(memory("xxxzzzzz"), zero, pageOnStream), 1);
  t.equal(holdPage(memory("xxxzzzzz"), zero, 5 * 9), 2);
  t.equal(holdPage(memory("xxxzzzzz"), zero, 5 * 9 + 1), 1);
  t.equal(holdPage(memory("zzzzzzzz"), zero, 63), 0);
});

t.test("memory that makes no more than the margin cannot be held", async (t) => {
  t.equal(holdPage(memory("zzzzzzzz"), zero, 64), null);
  t.equal(holdPage(memory("xx"), zero, 2 * pageOnStream), null);
  t.equal(holdPage(memory(""), zero, 0), null);
});

t.test("the margin is several times what sockets buffer", async (t) => {
  const margin = await holdMarginBytes();
  t.ok(Number.isSafeInteger(margin));
  t.ok(margin >= 8 << 20, `${margin} bytes`);
});

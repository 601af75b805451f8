import t from "tap";
import { accessUrl } from "../../src/verify/url-access.ts";

const content = new Uint8Array(1000).map((_, i) => i & 0xff);

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
}

/** A server that answers ranges of `content`, but for what `lie` changes. */
function server(lie: (answer: Answer, from: number) => Partial<Answer> = () => ({})) {
  return {
    fetch: async (_url: string, { headers }: { headers: Record<string, string> }) => {
      const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(headers["range"]) ?? [];
      const part = content.slice(Number(from), Number(to) + 1);
      const range = `bytes ${from}-${to}/1000`;
      const answer = { status: 206, headers: { etag: '"1"', "content-range": range } };
      return new Response(part, { ...answer, ...lie(answer, Number(from)) });
    },
  };
}

t.test("reads what is asked for, and less only at the end", async (t) => {
  const input = await accessUrl("http://x/y", server());
  t.equal(input.sizeBytes, 1000);
  const target = new Uint8Array(300);
  t.equal(await input.read(target, 100), 300);
  t.strictSame(target, content.slice(100, 400));
  t.equal(await input.read(target, 900), 100);
  t.strictSame(target.subarray(0, 100), content.slice(900));
  t.equal(await input.read(target, 1000), 0);
});

t.test("a server without ranges, or that answers something else, is refused", async (t) => {
  const open = (answer: Partial<Answer>) =>
    accessUrl(
      "http://x/y",
      server(() => answer),
    );
  const range = (text: string) => ({ headers: { "content-range": text } });
  await t.rejects(open({ status: 200 }), /does not answer range requests/);
  await t.rejects(open({ status: 404 }), /answers 404/);
  await t.rejects(open(range("bytes 5-6/1000")), /asked for byte 0/);
  await t.rejects(open(range("bytes 0-0/*")), /asked for byte 0/);
});

t.test("a file that changes between two requests is not taken for one", async (t) => {
  const changes: Record<string, string>[] = [{ etag: '"2"' }, { "content-range": "bytes 7-16/2000" }];
  for (const change of changes) {
    const lie = ({ headers }: Answer, from: number): Partial<Answer> =>
      from > 0 ? { headers: { ...headers, ...change } } : {};
    const input = await accessUrl("http://x/y", server(lie));
    await t.rejects(async () => await input.read(new Uint8Array(10), 7), /changed meanwhile/);
  }
});

t.test("a body that is longer than asked for is cut, an empty file has no bytes", async (t) => {
  const long = {
    fetch: async () => new Response(content, { status: 206, headers: { "content-range": "bytes 0-0/1000" } }),
  };
  const target = new Uint8Array(10);
  t.equal(await (await accessUrl("http://x/y", long)).read(target, 0), 10);
  t.strictSame(target, content.slice(0, 10));
  const empty = {
    fetch: async () => new Response(null, { status: 416, headers: { "content-range": "bytes */0" } }),
  };
  const input = await accessUrl("http://x/y", empty);
  t.equal(input.sizeBytes, 0);
  t.equal(await input.read(target, 0), 0);
});

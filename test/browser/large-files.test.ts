/** Files that are larger than what the page may hold of them, and how it is cancelled. */

import type { Page, Worker } from "playwright-core";
import t from "tap";
import { servePage } from "../../cli/web/page-server.ts";
import { sliceBytes } from "../../cli/web/verify-page/read-ahead.ts";
import { ModelStore, page as pageBytes } from "../store/model-store.ts";
import { openChromium } from "./chromium.ts";
import { dropPaths, openVerifyPage, shownCards, verify } from "./page-driver.ts";

const MiB = 2 ** 20;
const imageBytes = 192 * MiB;
/** What a tab may take beside what it takes before: a slice for each worker that hashes, and their cores. */
const mostBytes = 10 * sliceBytes;

const model = await ModelStore.create(t.testdir(), "web1", [
  { name: "pc.ram", kind: "ram", lengthBytes: imageBytes },
]);
await model.add(sparsePattern());
model.memories.clear();
const paths = [model.store.generationsPath, `${model.storePath}.keys/${model.vm}.key`];

const server = await servePage(0);
t.teardown(() => server.close());
const chromium = await openChromium(t);

/** Mostly holes, with a pattern in every 32nd page. */
function sparsePattern(): Uint8Array {
  const memory = new Uint8Array(imageBytes);
  for (let at = 0; at < memory.length; at += 32 * pageBytes) {
    memory.fill(at / pageBytes / 32, at, at + pageBytes);
  }
  return memory;
}

/** Lets a worker tell how much of a file it has read at once, and how much in all. */
const watchReads = `{
  const { arrayBuffer } = Blob.prototype;
  const { readAsArrayBuffer } = FileReaderSync.prototype;
  self.reads = [];
  Blob.prototype.arrayBuffer = function () {
    self.reads.push(this.size);
    return arrayBuffer.call(this);
  };
  FileReaderSync.prototype.readAsArrayBuffer = function (blob) {
    self.reads.push(blob.size);
    return readAsArrayBuffer.call(this, blob);
  };
}`;

/** Has a worker that hashes keep its answers, and tell when it has one; so many more are given as it is then allowed. */
const holdAnswers = `{
  const tell = self.postMessage.bind(self);
  const kept = [];
  let allowed = 0;
  const give = () => {
    for (; allowed > 0 && kept.length > 0; allowed--) tell(...kept.shift());
  };
  const first = new Promise((resolve) => {
    self.postMessage = (...message) => {
      kept.push(message);
      give();
      resolve();
    };
  });
  self.firstAnswer = () => first;
  self.allow = (more) => {
    allowed += more;
    give();
  };
}`;

/** The workers that hash. */
function hashWorkers(page: Page): Worker[] {
  return page.workers().filter((worker) => worker.url().endsWith("hash-worker.js"));
}

async function inEach(workers: readonly Worker[], script: string): Promise<void> {
  await Promise.all(workers.map((worker) => worker.evaluate(script)));
}

t.test("an image of 192 MiB is read in slices, and the tab's memory stays small", async (t) => {
  const { page, errors } = await openVerifyPage(chromium, server.url);
  t.teardown(() => page.close());
  t.ok(hashWorkers(page).length > 1, "several workers hash");
  await inEach(page.workers(), watchReads);
  const measure = () =>
    page.evaluate<number>("performance.measureUserAgentSpecificMemory().then(({ bytes }) => bytes)");
  const before = await measure();
  await dropPaths(page, paths);
  await page.locator("#verify:enabled").click();
  const during: number[] = [];
  const headline = page.locator("#headline:not(:empty)");
  while ((await headline.count()) === 0) during.push((await measure()) - before);
  t.equal(await headline.textContent(), "1 generation verified, no findings, all can be restored");
  const [card] = await shownCards(page);
  t.match(card.text, "49,152 pages");
  const reads = await Promise.all(hashWorkers(page).map((worker) => worker.evaluate<number[]>("self.reads")));
  for (const of of reads) t.ok(of.length > 1, `a worker that hashes did ${of.length} reads`);
  const sum = reads.flat().reduce((bytes, read) => bytes + read, 0);
  t.equal(sum, imageBytes, "together they read the image once");
  const [worker] = page.workers();
  const largest = Math.max(...reads.flat(), ...(await worker.evaluate<number[]>("self.reads")));
  t.equal(largest, sliceBytes, "the largest read is a slice");
  t.ok(during.length > 0, "it was measured meanwhile");
  t.ok(Math.max(...during) < mostBytes, `at most ${Math.round(Math.max(...during) / MiB)} MiB were taken`);
  t.strictSame(errors, []);
});

t.test("it can be cancelled, and begun anew", async (t) => {
  const { page } = await openVerifyPage(chromium, server.url);
  t.teardown(() => page.close());
  const workers = hashWorkers(page);
  await inEach(workers, holdAnswers);
  await dropPaths(page, paths);
  await page.locator("#verify:enabled").click();
  t.ok(await page.locator("#progress").isVisible());
  // Before there is something to hash, nothing would have to be waited for.
  await Promise.any(workers.map((worker) => worker.evaluate("self.firstAnswer()")));
  await page.locator("#cancel").click();
  t.ok(await page.locator("#verify").isDisabled(), "not before the worker has ended it");
  await inEach(workers, "self.allow(Infinity)");
  await page.getByText("Cancelled").waitFor();
  t.ok(await page.locator("#progress").isHidden());
  t.ok(await page.locator("#cancel").isHidden());
  await page.locator("#quick").check();
  t.match(await verify(page), /^1 generation verified, no findings/);
});

t.test("progress and the time that is left are shown while it runs", async (t) => {
  const { page } = await openVerifyPage(chromium, server.url);
  t.teardown(() => page.close());
  await page.clock.install();
  const workers = hashWorkers(page);
  await inEach(workers, holdAnswers);
  await dropPaths(page, paths);
  await page.locator("#verify:enabled").click();
  await page.locator("#progress").waitFor();
  await page.clock.fastForward(60_000);
  await inEach(workers, "self.allow(2)");
  await page.getByText(/web1, generation 1 · \d+ % of 19\d MiB · about \d+ .* left/).waitFor();
  await page.locator("#cancel").click();
  await inEach(workers, "self.allow(Infinity)");
  await page.getByText("Cancelled").waitFor();
});

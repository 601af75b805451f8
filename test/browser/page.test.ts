/** The page that verifies in a browser, worked as a person does. */

import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t, { type Test } from "tap";
import { servePage } from "../../cli/web/page-server.ts";
import { ModelStore, page as pageBytes } from "../store/model-store.ts";
import { DiskStore } from "../verify/disk-store.ts";
import { type OpenedPage, openChromium } from "./chromium.ts";
import {
  cellColour,
  dropPaths,
  openVerifyPage,
  readHeatMap,
  reopenVerifyPage,
  shownCards,
  shownFindings,
  shownSelection,
  verify,
} from "./page-driver.ts";

const server = await servePage(0);
t.teardown(() => server.close());
const chromium = await openChromium(t);

const opened = await openVerifyPage(chromium, server.url);

/** Made once, and copied for each test. */
const chainFolder = mkdtempSync(join(tmpdir(), "bfmig-page-"));
t.teardown(() => rmSync(chainFolder, { recursive: true }));
const { memories } = await makeChain(chainFolder);

async function makeChain(folder: string): Promise<ModelStore> {
  const model = await ModelStore.create(folder);
  await model.addChain(2);
  return model;
}

/** The page as it is at first, and a store with a chain of a complete generation and two deltas. */
async function openWithStore(t: Test): Promise<OpenedPage & Opened> {
  const folder = t.testdir();
  cpSync(chainFolder, folder, { recursive: true });
  const model = await ModelStore.open(folder);
  for (const [number, memory] of memories) model.memories.set(number, memory);
  await reopenVerifyPage(opened, server.url);
  const keyPath = `${model.storePath}.keys/${model.vm}.key`;
  return { ...opened, model, keyPath, generationsPath: model.store.generationsPath };
}

interface Opened {
  readonly model: ModelStore;
  readonly keyPath: string;
  readonly generationsPath: string;
}

t.test("a VM's dropped folder is verified, and its heat maps show the dirty pages", async (t) => {
  const { page, model, keyPath, requests, errors } = await openWithStore(t);
  t.ok(await page.locator("#verify").isDisabled(), "nothing to verify");
  await dropPaths(page, [join(model.storePath, model.vm), keyPath]);
  t.equal(await verify(page), "3 generations verified, no findings, all can be restored");
  const cards = await shownCards(page);
  t.strictSame(
    cards.map(({ title, badges }) => [title, ...badges]),
    [1, 2, 3].map((number) => [`Generation ${number}`, "✓ intact", "✓ restorable"]),
  );
  const { generations } = await model.store.list();
  for (const [i, { manifest }] of generations.entries()) t.match(cards[i].text, manifest.root);

  for (const number of [2, 3]) {
    const dirty = changedPages(model, number);
    for (const region of model.geometry.regions) {
      const shown = await readHeatMap(page, region.name, number - 1);
      const expected = Array.from({ length: region.pages }, (_, i) => {
        const state = dirty.has(region.firstPage + i) ? "dirty" : "as in the base";
        return `${region.name}, page ${i}: ${state}`;
      });
      t.strictSame(shown, expected, `generation ${number}, ${region.name}`);
    }
  }
  t.equal((await readHeatMap(page, "pc.ram", 0))[0], "pc.ram, page 0: in full");
  t.strictSame(errors, [], "the policy was not violated");
  t.strictSame(requests, [], "nothing was asked for after the page was there");
});

t.test("a flipped bit is listed with its file, byte and page, and its cell is marked", async (t) => {
  const { page, model, generationsPath, keyPath } = await openWithStore(t);
  const path = join(generationsPath, "1", "ram.img");
  // A page that both deltas leave alone, so that it is wrong in every generation.
  const changed = new Set([...changedPages(model, 2), ...changedPages(model, 3)]);
  const wrong = Array.from({ length: 40 }, (_, i) => i).find((i) => i > 0 && !changed.has(i)) as number;
  const bytes = readFileSync(path);
  bytes[wrong * pageBytes + 77] ^= 0x10;
  writeFileSync(path, bytes);
  await dropPaths(page, [generationsPath, keyPath]);
  t.equal(await verify(page), "3 generations verified, 1 finding, none can be restored");
  t.strictSame(await shownFindings(page), [
    [
      "generations/1/ram.img",
      (wrong * pageBytes).toLocaleString("en"),
      "pc.ram",
      String(wrong),
      "the page's content does not have its digest",
    ],
  ]);
  const cards = await shownCards(page);
  t.strictSame(cards[0].badges, ["✕ damaged", "✕ not restorable"]);
  t.strictSame(cards[1].badges, ["✓ intact", "✕ not restorable"]);
  t.match(cards[1].text, "Its own files are intact, but a generation under it is damaged");
  const cells = await readHeatMap(page, "pc.ram", 0);
  t.strictSame(
    cells.filter((cell) => cell.includes("wrong")),
    [`pc.ram, page ${wrong}: in full, wrong`],
  );
  const colours = await Promise.all([wrong, wrong - 1].map((cell) => cellColour(page, "pc.ram", 0, cell)));
  t.not(colours[0], colours[1], "the wrong page's cell has a colour of its own");
  const shot = await page.screenshot({ path: join(t.testdirName, "page.png"), fullPage: true });
  t.ok(shot.length > 20_000, "there is something to look at");
});

t.test("a cell has the colour of its share of dirty pages", async (t) => {
  const { page, model, generationsPath, keyPath } = await openWithStore(t);
  await dropPaths(page, [generationsPath, keyPath]);
  await verify(page);
  const dirty = changedPages(model, 2);
  const colours = new Map<string, Set<string>>();
  for (let i = 0; i < 40; i++) {
    const kind = dirty.has(i) ? "dirty" : "clean";
    const colour = await cellColour(page, "pc.ram", 1, i);
    colours.set(kind, (colours.get(kind) ?? new Set()).add(colour));
  }
  t.equal(colours.get("dirty")?.size, 1);
  t.equal(colours.get("clean")?.size, 1);
  t.notSame(colours.get("dirty"), colours.get("clean"));
});

t.test("another VM's key is told apart from damage, and nothing is verified with it", async (t) => {
  const { page, generationsPath } = await openWithStore(t);
  await dropPaths(page, [generationsPath]);
  await page.locator("#hint").getByText("Give the VM's key").waitFor();
  await page.locator("#key").fill("ab".repeat(31));
  t.match(await page.locator("#key-state").textContent(), "64 hexadecimal digits");
  t.ok(await page.locator("#verify").isDisabled());
  await page.locator("#key").fill("ab".repeat(32));
  t.equal(await verify(page), "The key is another VM's, no generation was verified");
  const [card] = await shownCards(page);
  t.equal(card.title, "Wrong key");
  t.strictSame(await shownFindings(page), []);
});

t.test("of several keys each VM's generations get the one that fits", async (t) => {
  const { page, model, generationsPath, keyPath } = await openWithStore(t);
  await page.locator("#key").fill("cd".repeat(32));
  await dropPaths(page, [generationsPath, keyPath]);
  await page.locator("#key-state").getByText("2 keys").waitFor();
  t.equal(await verify(page), "3 generations verified, no findings, all can be restored");
  t.ok((await page.locator("#key").inputValue()).includes(Buffer.from(model.key).toString("hex")));
});

t.test("a chain without its complete generation cannot be restored", async (t) => {
  const { page, generationsPath, keyPath } = await openWithStore(t);
  await dropPaths(page, [join(generationsPath, "2"), join(generationsPath, "3"), keyPath]);
  t.match(await verify(page), /none can be restored$/);
  t.ok((await shownFindings(page)).length > 0);
});

t.test("the files of one generation can be dropped without their folder", async (t) => {
  const { page, generationsPath, keyPath } = await openWithStore(t);
  const names = ["manifest.json", "ram.img", "digests", "device"];
  await dropPaths(page, [...names.map((name) => join(generationsPath, "1", name)), keyPath]);
  await page.locator("#verify:enabled").waitFor();
  t.match(await shownSelection(page), "Files without a folder");
  t.equal(await verify(page), "1 generation verified, no findings, all can be restored");
});

t.test("files by themselves are checked by structure and checksums only, and that is said", async (t) => {
  const { page, generationsPath } = await openWithStore(t);
  const delta = join(generationsPath, "2", "delta");
  await dropPaths(page, [delta, join(generationsPath, "2", "device")]);
  await page.locator("#verify:enabled").waitFor();
  t.match(await shownSelection(page), "by itself: structure and checksums only");
  t.equal(await verify(page), "2 files checked by structure and checksums only, no findings");
  const [card] = await shownCards(page);
  t.strictSame(card.badges, ["✓ whole", "✓ whole"]);
  t.match(card.text, "only the structure and the checksums");
  const bytes = readFileSync(delta);
  bytes[bytes.length >> 1] ^= 1;
  writeFileSync(delta, bytes);
  await dropPaths(page, [delta]);
  await page.locator("#cards:empty").waitFor({ state: "attached" });
  t.equal(await verify(page), "2 files checked by structure and checksums only, 1 finding");
  t.equal((await shownFindings(page))[0][0], "delta");
});

t.test("what is no file of a generation, and what is no key, is told in words", async (t) => {
  const { page, keyPath } = await openWithStore(t);
  const other = join(t.testdirName, "notes.txt");
  writeFileSync(other, "nothing that it knows");
  await dropPaths(page, [other]);
  t.equal(await verify(page), "1 file checked by structure and checksums only, 1 finding");
  t.match((await shownFindings(page))[0].at(-1), "neither a manifest nor a delta nor a device file");
  writeFileSync(keyPath, "not a key");
  await dropPaths(page, [keyPath]);
  await page.getByText("it is not a key of 64 hexadecimal digits").waitFor();
});

t.test("a quick verification says that it left page contents out", async (t) => {
  const { page, generationsPath, keyPath } = await openWithStore(t);
  const path = join(generationsPath, "1", "ram.img");
  const bytes = readFileSync(path);
  bytes[pageBytes + 5] ^= 1;
  writeFileSync(path, bytes);
  await dropPaths(page, [generationsPath, keyPath]);
  await page.locator("#quick").check();
  t.equal(await verify(page), "3 generations verified, no findings, page contents were left out");
  t.strictSame((await shownCards(page))[0].badges, ["✓ structure intact"]);
});

t.test(
  "of a generation with disks it is said that they and the root were not checked, and how they can be",
  async (t) => {
    const { model } = await DiskStore.create(t.testdir());
    const { page } = opened;
    await reopenVerifyPage(opened, server.url);
    await dropPaths(page, [join(model.storePath, model.vm), `${model.storePath}.keys/${model.vm}.key`]);
    t.equal(await verify(page), "3 generations verified, no findings, disks were not checked");
    t.equal(await page.locator("#headline").getAttribute("class"), "partial", "not as if all were well");
    for (const { badges, text } of await shownCards(page)) {
      t.strictSame(badges, ["✓ RAM consistent", "? disks not checked"]);
      t.match(text, "Not checked: disks disk0, data, and the root.");
      t.match(text, "run bfmig verify on its store");
    }
  },
);

t.test("whether a key is right is left open where no device file can tell", async (t) => {
  const { page, generationsPath } = await openWithStore(t);
  writeFileSync(join(generationsPath, "1", "device"), "cut off");
  await dropPaths(page, [join(generationsPath, "1")]);
  await page.locator("#key").fill("ab".repeat(32));
  t.match(await verify(page), /^1 generation verified, .* findings, none can be restored$/);
  await page.getByText("Whether the key is this VM's could not be told").waitFor();
});

t.test("everything can be reached with the keyboard, and has a name", async (t) => {
  const { page } = await openWithStore(t);
  const reached: string[] = [];
  for (let i = 0; i < 5; i++) {
    await page.keyboard.press("Tab");
    reached.push(await page.evaluate<string>("document.activeElement.id"));
  }
  t.strictSame(reached, ["folder-input", "files-input", "key", "key-input", "quick"]);
  for (const name of ["Choose a folder", "Choose files", "Choose a key file", "Key of the VM"]) {
    t.equal(await page.getByLabel(name, { exact: true }).count(), 1, name);
  }
});

/** Pages of the page space that differ between a generation and the one before. */
function changedPages(model: ModelStore, number: number): Set<number> {
  const [before, after] = [number - 1, number].map((one) => model.memories.get(one) as Uint8Array);
  const contentOf = (memory: Uint8Array, i: number) =>
    Buffer.from(memory.subarray(i * pageBytes, (i + 1) * pageBytes));
  const pages = Array.from({ length: after.length / pageBytes }, (_, i) => i);
  return new Set(pages.filter((i) => !contentOf(before, i).equals(contentOf(after, i))));
}

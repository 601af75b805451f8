/** Works the page as a person does: drops files and folders, gives the key, reads what is shown. */

import type { Locator, Page } from "playwright-core";
import { workersFor } from "../../cli/web/verify-page/hash-pool.ts";
import type { OpenedChromium, OpenedPage } from "./chromium.ts";

/** Opens the page and waits until all of its workers are there. What is asked for from then on is noted. */
export async function openVerifyPage(
  chromium: OpenedChromium,
  url: string,
  settings?: Parameters<OpenedChromium["open"]>[1],
): Promise<OpenedPage> {
  const opened = await chromium.open(url, settings);
  await waitForWorkers(opened);
  return opened;
}

/** Loads the page anew in its tab, which takes less time than another tab. */
export async function reopenVerifyPage(opened: OpenedPage, url: string): Promise<void> {
  await opened.page.goto(url);
  await waitForWorkers(opened);
  opened.errors.length = 0;
}

async function waitForWorkers({ page, requests }: OpenedPage): Promise<void> {
  const workers = 1 + workersFor(await page.evaluate<number>("navigator.hardwareConcurrency"));
  while (page.workers().length < workers) await page.waitForEvent("worker");
  requests.length = 0;
}

/** Drops files and folders of this machine on the page, as a file manager does. */
export async function dropPaths(page: Page, paths: readonly string[]): Promise<void> {
  const session = await page.context().newCDPSession(page);
  const box = await page.locator("#drop-zone").boundingBox();
  if (box === null) throw new Error("The page shows no place to drop files");
  const at = { x: box.x + box.width / 2, y: box.y + box.height / 2 };
  const data = { items: [], files: [...paths], dragOperationsMask: 1 };
  for (const type of ["dragEnter", "dragOver", "drop"] as const) {
    await session.send("Input.dispatchDragEvent", { type, ...at, data });
  }
  await session.detach();
}

/** Presses Verify, waits until it is over, and gives back the headline. */
export async function verify(page: Page): Promise<string> {
  await page.locator("#verify:enabled").click();
  await page.locator("#headline:not(:empty)").waitFor({ timeout: 120_000 });
  await page.locator("#cancel").waitFor({ state: "hidden", timeout: 120_000 });
  return (await page.locator("#headline").textContent()) ?? "";
}

/** The rows of the table of findings, cells by column. */
export async function shownFindings(page: Page): Promise<string[][]> {
  const rows = await page.locator("#findings-rows tr").all();
  return await Promise.all(rows.map((row) => row.locator("td").allTextContents()));
}

/** What a card of a generation shows. */
export interface ShownCard {
  readonly title: string;
  readonly badges: readonly string[];
  readonly text: string;
}

export async function shownCards(page: Page): Promise<ShownCard[]> {
  const cards = await page.locator("#cards .card").all();
  return await Promise.all(
    cards.map(async (card) => ({
      title: (await card.locator("h3").textContent()) ?? "",
      badges: await card.locator(".badge").allTextContents(),
      text: (await card.textContent()) ?? "",
    })),
  );
}

/** The list of what was taken. */
export async function shownSelection(page: Page): Promise<string> {
  return (await page.locator("#selection").textContent()) ?? "";
}

/** Walks over all cells of a region's heat map with the keyboard, as assistive technology reads them out. */
export async function readHeatMap(page: Page, region: string, card: number): Promise<string[]> {
  const map = heatMap(page, region, card);
  await map.focus();
  const last = Number(await map.getAttribute("aria-valuemax"));
  await page.keyboard.press("Home");
  const text = async () => (await map.getAttribute("aria-valuetext")) ?? "";
  const texts = [await text()];
  if (last === 0) return texts;
  await page.keyboard.press("ArrowRight");
  // Each key of its own costs two messages to the browser; the others are pressed there.
  return [...texts, await text(), ...(await map.evaluate(walkOn, last - 1))];
}

/** The colour near the corner of a cell, where neither a cross nor a frame is drawn. For maps of few cells. */
export async function cellColour(page: Page, region: string, card: number, cell: number): Promise<string> {
  return await heatMap(page, region, card).evaluate(colourAt, cell);
}

/** As much of a canvas as is needed here: tests are compiled without the types of a document. */
interface Canvas {
  readonly width: number;
  readonly ownerDocument: {
    readonly defaultView: { readonly KeyboardEvent: new (type: string, init: object) => Event };
  };
  dispatchEvent(event: Event): boolean;
  getAttribute(name: string): string | null;
  getContext(kind: "2d"): {
    getImageData(x: number, y: number, width: number, height: number): { readonly data: Uint8ClampedArray };
  };
}

/** Runs in the page: presses the right arrow so many times and gives back what is told after each. */
function walkOn(element: unknown, steps: number): string[] {
  const canvas = element as Canvas;
  return Array.from({ length: steps }, () => {
    const init = { key: "ArrowRight", bubbles: true, cancelable: true };
    canvas.dispatchEvent(new canvas.ownerDocument.defaultView.KeyboardEvent("keydown", init));
    return canvas.getAttribute("aria-valuetext") ?? "";
  });
}

/** Runs in the page. Cells of a small map have 16 pixels and one between. */
function colourAt(element: unknown, cell: number): string {
  const canvas = element as Canvas;
  const columns = Math.floor((canvas.width + 1) / 17);
  const [x, y] = [cell % columns, Math.floor(cell / columns)].map((i) => i * 17 + 3);
  return canvas.getContext("2d").getImageData(x, y, 1, 1).data.join();
}

function heatMap(page: Page, region: string, card: number): Locator {
  return page
    .locator("#cards .card")
    .nth(card)
    .getByRole("slider", { name: `Heat map of ${region},` });
}

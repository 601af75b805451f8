/** Opens the operating system's Chromium for tests. Playwright brings no browser of its own. */

import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { type Browser, chromium, type Page } from "playwright-core";
import type { Test } from "tap";

/** A browser that is closed with the test, and what it has said. */
export interface OpenedChromium {
  readonly browser: Browser;
  /** Opens a page that notes what it asks for, and what the browser holds against it. */
  open(url: string, settings?: Parameters<Browser["newPage"]>[0]): Promise<OpenedPage>;
  close(): Promise<void>;
}

/** A page and what was noted of it so far. */
export interface OpenedPage {
  readonly page: Page;
  /** Addresses that were asked for since the page was loaded, its workers' too. */
  readonly requests: string[];
  /** Errors that nobody caught, and what the console was told as an error: violations of the policy are there. */
  readonly errors: string[];
}

/** Starts Chromium without a window. Throws Error if it is not installed. Close it. */
export async function launchChromium(): Promise<OpenedChromium> {
  const browser = await chromium.launch({
    executablePath: chromiumPath(),
    headless: true,
    // Its sandbox does not run as root, and containers often lack the rights it needs.
    chromiumSandbox: false,
    // Memory is measured when a test asks for it, not when the browser finds the time.
    args: ["--disable-dev-shm-usage", "--enable-blink-features=ForceEagerMeasureMemory"],
  });
  return { browser, open: (url, settings) => openPage(browser, url, settings), close: () => browser.close() };
}

/** The same for a test: closed when the test is over. */
export async function openChromium(t: Test): Promise<OpenedChromium> {
  const opened = await launchChromium();
  t.teardown(opened.close);
  return opened;
}

async function openPage(
  browser: Browser,
  url: string,
  settings: Parameters<Browser["newPage"]>[0] = {},
): Promise<OpenedPage> {
  const page = await browser.newPage(settings);
  const requests: string[] = [];
  const errors: string[] = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error") errors.push(message.text());
  });
  await page.goto(url);
  page.context().on("request", (request) => requests.push(request.url()));
  return { page, requests, errors };
}

/** Where the program is. */
function chromiumPath(): string {
  for (const folder of (process.env.PATH ?? "").split(delimiter)) {
    const path = join(folder, "chromium");
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Not in this folder.
    }
  }
  throw new Error("Install chromium first: not found on PATH (npm test does it where apt-get works)");
}

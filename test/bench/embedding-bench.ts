/**
 * GB/s of the package's batches under each runtime, side by side: `npm run bench:embedding`. Chromium is left out where
 * it is not installed. What counts are the ratios to this Node: all run on the same machine one after the other. The last
 * row is a file that is verified: by `bfmig verify --jobs 1`, start included, and dropped on the page of `bfmig page`.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { servePage } from "../../cli/web/page-server.ts";
import { launchChromium } from "../browser/chromium.ts";
import { dropPaths, openVerifyPage } from "../browser/page-driver.ts";
import { installPackage } from "../embedding/package-folder.ts";
import { allRuntimes } from "../embedding/runtimes.ts";
import { serveFolder } from "../embedding/static-server.ts";
import { noise } from "../portable/check.ts";
import type { Speed } from "../portable/speed.ts";
import { ModelStore } from "../store/model-store.ts";

const MEASURE = `import * as api from "bfmig";
import { measureSpeed } from "./portable/speed.js";
console.log(JSON.stringify(await measureSpeed(api)));
`;

const PAGE = `<!doctype html><meta charset="utf-8"><title>speed</title><script type="module" src="speed-page.mjs"></script>`;

const MEASURE_IN_PAGE = `import * as api from "./node_modules/bfmig/dist/src/index.js";
import { measureSpeed } from "./portable/speed.js";
document.body.textContent = JSON.stringify(await measureSpeed(api));
`;

/** Milliseconds from the click until the verdict stands there. */
const TIME_IN_PAGE = `new Promise((resolve, reject) => {
  const headline = document.querySelector("#headline");
  const before = performance.now();
  new MutationObserver(() => {
    if (headline.textContent === "") return;
    if (headline.className === "good") resolve(performance.now() - before);
    else reject(new Error(headline.textContent));
  }).observe(headline, { attributes: true });
  document.querySelector("#verify").click();
})`;

const fileBytes = 300 << 20;
const fileRuns = 5;

const NAMES: Readonly<Record<keyof Speed, string>> = {
  blake3Pages: "BLAKE3 of pages",
  comparePages: "compare equal pages",
  lz4Compress: "LZ4 compress pages",
  lz4Decompress: "LZ4 decompress pages",
};

const folder = mkdtempSync(join(tmpdir(), "bfmig-embedding-"));
try {
  installPackage(folder);
  writeFileSync(join(folder, "speed.mjs"), MEASURE);
  const columns: { name: string; speed: Speed }[] = allRuntimes.map((runtime) => ({
    name: runtime.name,
    speed: JSON.parse(runtime.run(folder, "speed.mjs")) as Speed,
  }));
  const chromium = await speedInChromium();
  if (chromium !== undefined) columns.push({ name: "chromium", speed: chromium });
  print(columns);
  if (chromium !== undefined) await compareFiles();
} finally {
  rmSync(folder, { recursive: true, force: true });
}

async function speedInChromium(): Promise<Speed | undefined> {
  const opened = await launchChromium().catch((error: Error) => {
    console.log(`without Chromium: ${error.message}`);
  });
  if (opened === undefined) return undefined;
  writeFileSync(join(folder, "speed.html"), PAGE);
  writeFileSync(join(folder, "speed-page.mjs"), MEASURE_IN_PAGE);
  const server = await serveFolder(folder);
  try {
    const { page } = await opened.open(`${server.url}/speed.html`);
    const body = page.locator("body:not(:empty)");
    return JSON.parse((await body.textContent({ timeout: 60_000 })) ?? "") as Speed;
  } finally {
    await opened.close();
    server.close();
  }
}

/** Verifies a generation with a file of noise, by turns so that other load of the machine meets both. */
async function compareFiles(): Promise<void> {
  const memory = noise(fileBytes, 1);
  const regions = [{ name: "pc.ram", kind: "ram", lengthBytes: fileBytes }] as const;
  const model = await ModelStore.create(folder, "web1", regions);
  await model.add(memory);
  const opened = await launchChromium();
  const server = await servePage(0);
  const [inNode, inPage]: [number[], number[]] = [[], []];
  try {
    for (let i = 0; i < fileRuns; i++) {
      inNode.push(timeInNode(model.storePath));
      const { page } = await openVerifyPage(opened, server.url);
      await dropPaths(page, [model.store.generationsPath, `${model.storePath}.keys/web1.key`]);
      await page.locator("#verify:enabled").waitFor();
      inPage.push(await page.evaluate<number>(TIME_IN_PAGE));
      await page.close();
    }
  } finally {
    await opened.close();
    await server.close();
  }
  const [node, chromium] = [inNode, inPage].map((times) => fileBytes / medianOf(times) / 1e6);
  const text = `${chromium!.toFixed(2)} (${((100 * chromium!) / node!).toFixed(0)} %)`;
  console.log(`${"verify a file".padEnd(24)}${node!.toFixed(2)} in node, ${text} in chromium`);
}

function timeInNode(path: string): number {
  const before = performance.now();
  const program = ["dist/cli/main.js", "verify", "--jobs", "1", path];
  const { status, stderr } = spawnSync(process.execPath, program, { encoding: "utf8" });
  if (status !== 0) throw new Error(`Cannot verify: ${stderr}`);
  return performance.now() - before;
}

function medianOf(times: readonly number[]): number {
  return times.toSorted((a, b) => a - b)[times.length >> 1]!;
}

function print(columns: readonly { name: string; speed: Speed }[]): void {
  const row = (title: string, cells: readonly string[]) =>
    console.log(title.padEnd(24) + cells.map((cell) => cell.padStart(18)).join(""));
  const reference = columns[0]!.speed;
  row(
    "GB/s (of this Node's)",
    columns.map(({ name }) => name),
  );
  for (const [key, title] of Object.entries(NAMES) as [keyof Speed, string][]) {
    const cells = columns.map(({ speed }) => {
      const ratio = (100 * speed[key]) / reference[key];
      return `${speed[key].toFixed(2)} (${ratio.toFixed(0)} %)`;
    });
    row(title, cells);
  }
}

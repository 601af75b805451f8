/** The report of the experiments, opened from the disk. */

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import t from "tap";
import { makeReport } from "../../cli/experiments/report/make-report.ts";
import { syntheticRecords } from "../experiments/report/synthetic-records.ts";
import { openChromium } from "./chromium.ts";
import { type Survey, survey } from "./report-survey.ts";

/** Enough for every plot, and few enough to be quick. */
const records = syntheticRecords().filter(({ repeat, link }) => repeat <= 2 && link.bitsPerSecond < 1e9);
const folder = t.testdir({});
writeFileSync(join(folder, "results.jsonl"), records.map((record) => `${JSON.stringify(record)}\n`).join(""));
const command = "bfmig bench report DIR";
const { missing } = await makeReport(folder, { command, experiments: null, markdown: false });
t.strictSame(missing, [], "every plot is there");
const chromium = await openChromium(t);

for (const [width, colorScheme] of [
  [1280, "light"],
  [1280, "dark"],
  [375, "light"],
  [375, "dark"],
] as const) {
  t.test(`plots are drawn and nothing overflows at ${width} px, ${colorScheme}`, async (t) => {
    const viewport = { width, height: 900 };
    const url = pathToFileURL(join(folder, "report.html")).href;
    const { page, errors, requests } = await chromium.open(url, { viewport, colorScheme });
    t.teardown(() => page.close());
    const found = await page.evaluate<Survey>(survey);
    t.strictSame(found.wide, []);
    t.equal(found.pageWidth, width);
    t.equal(found.ground, colorScheme === "dark" ? "rgb(20, 25, 24)" : "rgb(255, 255, 255)");
    t.ok(found.panels.length > 20, `${found.panels.length} panels`);
    t.strictSame(
      found.panels.flatMap(({ cut, colliding }) => [...cut, ...colliding]),
      [],
      "no words are cut or lie over others",
    );
    for (const panel of found.panels) {
      t.ok(panel.marks > 0 && panel.width > 300 && panel.width < 520);
      t.equal(panel.painted, panel.marks);
    }
    t.strictSame(errors, []);
    t.strictSame(requests, []);
  });
}

t.test("it can be printed and read without colours or a pointer", async (t) => {
  const url = pathToFileURL(join(folder, "report.html")).href;
  const { page, errors } = await chromium.open(url, { colorScheme: "dark" });
  t.teardown(() => page.close());
  t.equal(await page.getByRole("table").count(), 6);
  t.equal(await page.getByRole("columnheader", { name: "Total time" }).count(), 1);
  const plots = await page.locator('[role="img"]').count();
  t.equal(await page.getByRole("img", { name: /./ }).count(), plots, "every plot has a name");
  await page.keyboard.press("Tab");
  t.equal(await page.evaluate("document.activeElement.tagName"), "A");
  await page.emulateMedia({ media: "print" });
  t.equal(await page.evaluate("getComputedStyle(document.body).backgroundColor"), "rgb(255, 255, 255)");
  t.strictSame(errors, []);
});

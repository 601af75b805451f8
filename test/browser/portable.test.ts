/** The portable checks in a browser, from the package as it would be published, under a policy that forbids `eval`. */

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { installPackage } from "../embedding/package-folder.ts";
import { serveFolder } from "../embedding/static-server.ts";
import { openChromium } from "./chromium.ts";

/** Fewer passed checks mean that some were not run. */
const leastChecks = 20;

const html = `<!doctype html><meta charset="utf-8"><title>checks</title><script type="module" src="checks.mjs"></script>`;
const script = `import * as api from "./node_modules/bfmig/dist/src/index.js";
import { runPortableChecks } from "./portable/checks.js";
document.body.textContent = JSON.stringify(await runPortableChecks(api));
`;

t.test("the package passes the portable checks in Chromium", async (t) => {
  const folder = t.testdir({});
  installPackage(folder);
  writeFileSync(join(folder, "checks.html"), html);
  writeFileSync(join(folder, "checks.mjs"), script);
  const server = await serveFolder(folder);
  t.teardown(() => server.close());
  const chromium = await openChromium(t);
  const { page, errors } = await chromium.open(`${server.url}/checks.html`);
  const body = page.locator("body:not(:empty)");
  const { passed, failures } = JSON.parse((await body.textContent({ timeout: 60_000 })) ?? "") as {
    passed: number;
    failures: string[];
  };
  t.strictSame(failures, []);
  t.ok(passed >= leastChecks, `${passed} checks`);
  t.strictSame(
    errors.filter((error) => !error.includes("favicon")),
    [],
  );
  const evaluation = await page.evaluate<string>(
    "Promise.resolve().then(() => import('data:text/javascript,1')).then(() => 'ran', () => 'refused')",
  );
  t.equal(evaluation, "refused", "the policy is in force");
});

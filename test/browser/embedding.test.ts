/** Runs the browser's example of docs/EMBEDDING.md as it stands there, under the policy that it gives, and under one that forbids WASM. */

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { servePage } from "../../cli/web/page-server.ts";
import * as api from "../../src/index.ts";
import { exampleNamed } from "../embedding/examples.ts";
import { installPackage } from "../embedding/package-folder.ts";
import { documentedPolicy, serveFolder } from "../embedding/static-server.ts";
import { makeSmallChain } from "../portable/small-generation.ts";
import { openChromium } from "./chromium.ts";
import { dropPaths, verify } from "./page-driver.ts";

const folder = t.testdir({ generation: {} });
installPackage(folder);
for (const name of ["browser.html", "browser.mjs"]) writeFileSync(join(folder, name), exampleNamed(name));
const { key, generations } = await makeSmallChain(api);
const paths = writeFiles(join(folder, "generation"), generations[0].files);
const chromium = await openChromium(t);

t.test("the example verifies files that a person chooses", async (t) => {
  const server = await serveFolder(folder);
  t.teardown(() => server.close());
  const { page, requests } = await chromium.open(`${server.url}/browser.html`);

  await page.getByLabel("Key").fill(api.toHex(key));
  await page.getByLabel("Files").setInputFiles(paths);
  await page.getByText("intact, restorable").waitFor();

  const damaged = new Map(generations[0].files);
  const image = (damaged.get("ram.img") as Uint8Array).slice();
  image[5] ^= 1;
  damaged.set("ram.img", image);
  const damagedFolder = join(folder, "damaged");
  mkdirSync(damagedFolder);
  await page.getByLabel("Files").setInputFiles(writeFiles(damagedFolder, damaged));
  await page.getByText("damaged, lost").waitFor();
  t.strictSame(requests, [], "nothing was asked for or sent");
});

t.test("without 'wasm-unsafe-eval' in the policy it does not, so that must stand there", async (t) => {
  const server = await serveFolder(folder, withoutWasm(documentedPolicy()));
  t.teardown(() => server.close());
  const { page } = await chromium.open(`${server.url}/browser.html`);
  await page.getByLabel("Key").fill(api.toHex(key));
  const failure = page.waitForEvent("pageerror");
  await page.getByLabel("Files").setInputFiles(paths);
  t.match(String(await failure), /CompileError.*violates.*Content Security Policy/);
  t.equal(await page.locator("#result").textContent(), "");
});

t.test(
  "the page of `bfmig page` says why it cannot work under such a policy, and works under its own",
  async (t) => {
    const own = await servePage(0);
    t.teardown(() => own.close());
    const policy = (await fetch(own.url)).headers.get("content-security-policy") ?? "";
    for (const [header, text] of [
      [policy, /^1 generation verified, no findings/],
      [withoutWasm(policy), /^Serve the page with 'wasm-unsafe-eval' in its policy's script-src: /],
    ] as const) {
      const server = await serveFolder("dist/web/verify-page", header);
      t.teardown(() => server.close());
      const { page } = await chromium.open(`${server.url}/index.html`);
      await dropPaths(page, paths);
      await page.locator("#key").fill(api.toHex(key));
      t.match(await verify(page), text);
    }
  },
);

/** The policy as it is for who forgot what WASM needs. */
function withoutWasm(policy: string): string {
  const rest = policy.replace(" 'wasm-unsafe-eval'", "");
  if (rest === policy) throw new Error("The policy does not allow WASM");
  return rest;
}

function writeFiles(folder: string, files: ReadonlyMap<string, Uint8Array>): string[] {
  return [...files].map(([name, bytes]) => {
    const path = join(folder, name);
    writeFileSync(path, bytes);
    return path;
  });
}

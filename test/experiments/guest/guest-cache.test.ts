import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import t from "tap";
import { cachedFolder } from "../../../cli/experiments/guest/guest-cache.ts";

const variable = "BFMIG_CACHE_OF_THIS_TEST";
const place = "bfmig-cache-of-this-test";

t.test("a folder is made once, whoever asks, and is whole or not there", async (t) => {
  const cache = t.testdir();
  process.env[variable] = cache;
  t.teardown(() => {
    delete process.env[variable];
  });
  let made = 0;
  const get = (name: string) =>
    cachedFolder({ variable, place, name }, async (work, folder) => {
      await writeFile(join(work, "scratch"), "left behind");
      await writeFile(join(folder, "file"), `made ${++made}`);
    });
  const failing = cachedFolder({ variable, place, name: "one" }, async (_work, folder) => {
    await writeFile(join(folder, "file"), "half");
    throw new Error("no network");
  });
  await t.rejects(failing, { message: "no network" });
  t.strictSame(await readdir(cache), [], "nothing half stays");
  const first = await get("one");
  t.equal(await readFile(join(first, "file"), "utf8"), "made 1");
  t.equal(await get("one"), first);
  t.equal(made, 1);
  const [a, b] = await Promise.all([get("two"), get("two")]);
  t.equal(a, b, "two at once: one of them stays");
  t.match(await readFile(join(a, "file"), "utf8"), /^made [23]$/);
  t.strictSame((await readdir(cache)).sort(), ["one", "two"]);
});

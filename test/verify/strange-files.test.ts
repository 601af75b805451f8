/** What stands in a store instead of the files that belong there: links, pipes, folders, files without an end. */

import { spawnSync } from "node:child_process";
import {
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import t from "tap";
import { verifyPaths } from "../../cli/verify/verify.ts";
import { loadCore } from "../../src/core.ts";
import { encodeManifest, generationFileNames } from "../../src/generation/manifest.ts";
import { ModelStore } from "../store/model-store.ts";

const core = await loadCore();
const names = ["manifest.json", ...generationFileNames] as const;

async function makeStore(folder: string) {
  const model = await ModelStore.create(folder);
  const chain = await model.addChain(1);
  const outside = join(folder, "outside");
  mkdirSync(outside);
  const at = (name: string) => join(model.store.generationsPath, "2", name);
  const verify = async () => await verifyPaths([model.storePath]);
  return { model, chain, outside, at, verify };
}

t.test(
  "a link in the place of any file is told and not followed, although what it leads to is right",
  async (t) => {
    const { model, outside, at, verify } = await makeStore(t.testdir());
    const { generationsPath, path: vmPath } = model.store;
    const places = [
      ...names.map((name) => at(name)),
      at(""),
      join(model.storePath, "web1", "ownership"),
      generationsPath,
      vmPath,
    ];
    writeFileSync(join(vmPath, "ownership"), "{}");
    for (const path of places) {
      const away = join(outside, "it");
      renameSync(path, away);
      symlinkSync(away, path);
      const { findings, vms } = await verify();
      t.ok(
        findings.some((finding) => finding.path === path && /symbolic link/.test(finding.problem)),
        `${path}: ${JSON.stringify(findings)}`,
      );
      const wasFollowed = findings.some(({ path: found }) => found.startsWith(outside));
      t.notOk(wasFollowed, "nothing is said of what it leads to");
      if (path.startsWith(generationsPath)) {
        t.not(vms[0]?.generations[1]?.intact, true, path);
      }
      rmSync(path);
      renameSync(away, path);
    }
  },
);

t.test("a pipe or a folder in the place of a file is told, and nobody waits for the pipe", async (t) => {
  const { outside, at, verify } = await makeStore(t.testdir());
  for (const name of names) {
    const away = join(outside, name);
    renameSync(at(name), away);
    for (const make of [(path: string) => spawnSync("mkfifo", [path]), (path: string) => mkdirSync(path)]) {
      make(at(name));
      const { findings, vms } = await verify();
      t.ok(
        findings.some(
          ({ path, problem }) => path === at(name) && /regular file|EISDIR|directory/.test(problem),
        ),
        `${name}: ${JSON.stringify(findings)}`,
      );
      t.not(vms[0].generations[1]?.intact, true);
      rmSync(at(name), { recursive: true });
    }
    renameSync(away, at(name));
  }
  t.strictSame((await verify()).findings, []);
});

t.test("files of terabytes are found by their length or their first bytes", async (t) => {
  const { chain, at, verify } = await makeStore(t.testdir());
  const huge = 2 ** 42;
  const { manifest } = chain[1];
  for (const name of names) {
    const [kept, keptManifest] = [readFileSync(at(name)), readFileSync(at("manifest.json"))];
    const lying = { ...manifest.files, [name]: { ...manifest.files[name as "delta"], bytes: huge } };
    for (const says of name === "manifest.json" ? [null] : [null, { ...manifest, files: lying }]) {
      if (says) writeFileSync(at("manifest.json"), encodeManifest(core, says));
      for (const isBlank of [false, true]) {
        writeFileSync(at(name), isBlank ? "" : kept);
        truncateSync(at(name), huge);
        const { findings, vms } = await verify();
        t.ok(
          findings.some(({ path }) => path === at(name) || (says && path === at("manifest.json"))),
          `${name}: ${JSON.stringify(findings)}`,
        );
        t.not(vms[0].generations[1]?.intact, true);
      }
      writeFileSync(at("manifest.json"), keptManifest);
    }
    writeFileSync(at(name), kept);
  }
  t.strictSame((await verify()).findings, []);
});

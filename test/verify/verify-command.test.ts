import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { verifyCommand } from "../../cli/commands/verify.ts";
import { ModelStore } from "../store/model-store.ts";
import { runInTest } from "./command-output.ts";

t.test("an intact store: what is restorable, no findings, exit code 0", async (t) => {
  const model = await ModelStore.create(t.testdir());
  await model.addChain(1);
  const { lines, code } = await runInTest(t, verifyCommand(), model.storePath);
  t.equal(code, 0);
  t.strictSame(lines, [
    `web1 (${model.store.path}): 2 generations, restorable: 1, 2`,
    "2 generations verified, no findings",
  ]);
});

t.test("findings: one line each, exit code 5; as JSON one object a line, the last one done", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const [, second] = await model.addChain(1);
  const path = join(second.directory, "surplus");
  writeFileSync(path, "x");
  const text = await runInTest(t, verifyCommand(), model.storePath);
  t.equal(text.code, 5);
  t.equal(text.lines[0], `${path}: generation 2: the manifest does not list it`);
  t.equal(text.lines.at(-1), "2 generations verified, 1 finding");
  const json = await runInTest(t, verifyCommand(), "--json", "--quick", model.storePath);
  t.equal(json.code, 5);
  const events = json.lines.map((line) => JSON.parse(line));
  t.match(
    events.find(({ event }) => event === "finding"),
    { path, generation: 2 },
  );
  t.match(
    events.find(({ event }) => event === "vm"),
    { vm: "web1", newestRestorable: 1 },
  );
  t.strictSame(events.at(-1), { event: "done", generations: 2, diskBytes: 0, looseFiles: 0, findings: 1 });
});

t.test("wrong use: a message on stderr and exit code 2", async (t) => {
  const { code, diagnostics, lines } = await runInTest(t, verifyCommand(), join(t.testdir(), "missing"));
  t.equal(code, 2);
  t.strictSame(lines, []);
  t.match(diagnostics, /^bfmig: Cannot verify .*missing/);
});

t.test("the key can be named, also several times", async (t) => {
  const model = await ModelStore.create(t.testdir());
  await model.addChain(0);
  const other = join(t.testdirName, "other.key");
  writeFileSync(other, "00".repeat(32));
  const key = `${model.storePath}.keys/web1.key`;
  t.equal((await runInTest(t, verifyCommand(), "--key", key, model.storePath)).code, 0);
  t.equal((await runInTest(t, verifyCommand(), "--key", other, "--key", key, model.storePath)).code, 0);
  t.equal((await runInTest(t, verifyCommand(), "--key", other, model.storePath)).code, 5);
});

t.test("however many jobs, the same is said; numbers that are none are wrong use", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const [first] = await model.addChain(2);
  const path = join(first.directory, "ram.img");
  const image = readFileSync(path);
  image[4 * 4096] ^= 1;
  writeFileSync(path, image);
  const one = await runInTest(t, verifyCommand(), "--jobs", "1", model.storePath);
  t.equal(one.code, 5);
  t.match(one.lines[0], /pc\.ram page 4, byte 16384: the page's content/);
  for (const jobs of ["2", "3"]) {
    const several = await runInTest(t, verifyCommand(), "--jobs", jobs, model.storePath);
    t.strictSame(several, one, `${jobs} jobs`);
  }
  for (const jobs of ["0", "65", "1.5", "x"]) {
    const command = verifyCommand().configureOutput({ writeErr: () => {} });
    await t.rejects(
      runInTest(t, command, "--jobs", jobs, model.storePath),
      /whole number from 1 to 64/,
      jobs,
    );
  }
});

t.test("progress as JSON says what is done and how long the rest will take", async (t) => {
  const model = await ModelStore.create(t.testdir());
  await model.addChain(1);
  const { lines } = await runInTest(t, verifyCommand(), "--json", model.storePath);
  const progress = lines.map((line) => JSON.parse(line)).filter(({ event }) => event === "progress");
  t.match(progress[0], { vm: "web1", generation: 1, doneBytes: 0, totalBytes: Number, etaMs: null });
});

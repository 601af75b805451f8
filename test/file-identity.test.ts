import { closeSync, openSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { fileIdentity, isSameFile, openFileIdentity } from "../cli/file-identity.ts";

t.test("a file is the same under another name, and another one under its name is not", async (t) => {
  const folder = t.testdir({ one: "content" });
  const path = join(folder, "one");
  const before = await fileIdentity(path);
  const file = openSync(path, "r");
  t.teardown(() => closeSync(file));
  t.ok(isSameFile(before, openFileIdentity(file)));
  renameSync(path, join(folder, "two"));
  t.ok(isSameFile(before, await fileIdentity(join(folder, "two"))));
  writeFileSync(path, "content");
  t.notOk(isSameFile(before, await fileIdentity(path)));
  t.notOk(isSameFile(before, { ...before, device: before.device + 1n }));
});

t.test("a file that is not there has none", async (t) => {
  await t.rejects(fileIdentity(join(t.testdir(), "missing")), { code: "ENOENT" });
});

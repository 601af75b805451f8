import { mkdirSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { OperationError } from "../../cli/errors.ts";
import { storeError, writeFileAtomically } from "../../cli/store/atomic-file.ts";
import { endsAs } from "./operation-errors.ts";

t.test("a file is replaced as a whole, is its owner's alone, and leaves nothing beside it", async (t) => {
  const folder = t.testdir();
  const path = join(folder, "file");
  await writeFileAtomically(path, "first");
  await writeFileAtomically(path, Uint8Array.of(1, 2));
  t.strictSame([...readFileSync(path)], [1, 2]);
  t.equal(statSync(path).mode & 0o777, 0o600);
  t.strictSame(readdirSync(folder), ["file"]);
});

t.test("a write that fails leaves the old file and nothing else", async (t) => {
  const folder = t.testdir();
  mkdirSync(join(folder, "taken"));
  mkdirSync(join(folder, "taken", "inside"));
  await t.rejects(writeFileAtomically(join(folder, "taken"), "x"), OperationError);
  t.strictSame(readdirSync(folder), ["taken"]);
  await t.rejects(writeFileAtomically(join(folder, "missing", "file"), "x"), endsAs("failed"));
});

t.test("a full disk is told as such, with what to do", async (t) => {
  const full = Object.assign(new Error("ENOSPC: no space left"), { code: "ENOSPC" });
  t.match(storeError("Cannot write x", full).message, /disk is full.*prune/);
  const known = new OperationError("refused", "as it was");
  t.equal(storeError("Cannot write x", known), known);
  t.equal(storeError("Cannot write x", "text").message, "Cannot write x: text");
});

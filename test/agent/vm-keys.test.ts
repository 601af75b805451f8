import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { VmKeys } from "../../cli/agent/vm-keys.ts";
import { endsAs } from "../store/operation-errors.ts";

t.test("a key is made once, and only its owner may read it", async (t) => {
  const folder = join(t.testdir(), "keys");
  const keys = new VmKeys(folder);
  t.equal(await keys.read("web1"), null);
  const key = await keys.readOrMake("web1");
  t.equal(key.length, 32);
  t.strictSame(await keys.readOrMake("web1"), key);
  t.strictSame(await new VmKeys(folder).read("web1"), key);
  t.notSame(await keys.readOrMake("web2"), key, "each VM has its own");
  t.equal(statSync(folder).mode & 0o777, 0o700);
  t.equal(statSync(join(folder, "web1.key")).mode & 0o777, 0o600);
  t.match(readFileSync(join(folder, "web1.key"), "utf8"), /^[0-9a-f]{64}\n$/);
});

t.test("a peer's key is taken if there is none, and refused if there is another", async (t) => {
  const keys = new VmKeys(t.testdir());
  const key = new Uint8Array(32).fill(7);
  await keys.accept("web1", key);
  t.strictSame(await keys.read("web1"), key);
  await keys.accept("web1", key);
  await t.rejects(keys.accept("web1", new Uint8Array(32).fill(8)), {
    ...endsAs("refused"),
    message: /^Cannot take web1: .*another VM/,
  });
  t.strictSame(await keys.read("web1"), key, "the key stays");
});

t.test("a key file that is damaged is refused and not replaced", async (t) => {
  const folder = t.testdir();
  const keys = new VmKeys(folder);
  const path = join(folder, "web1.key");
  for (const text of [
    "",
    "7".repeat(63),
    "7".repeat(65),
    `${"7".repeat(63)}g`,
    "77".repeat(32).replace("7", "A"),
  ]) {
    writeFileSync(path, text);
    const uses: (() => Promise<unknown>)[] = [
      () => keys.read("web1"),
      () => keys.readOrMake("web1"),
      () => keys.accept("web1", new Uint8Array(32)),
    ];
    for (const use of uses) {
      await t.rejects(use(), { ...endsAs("failed"), message: /web1\.key: a key has 64 hexadecimal digits/ });
    }
    t.equal(readFileSync(path, "utf8"), text);
  }
});

t.test("a key that cannot be read is not taken for missing", async (t) => {
  const folder = t.testdir();
  mkdirSync(join(folder, "web1.key"));
  await t.rejects(new VmKeys(folder).readOrMake("web1"), { code: "EISDIR" });
});

t.test("a key can be forgotten, and forgotten again", async (t) => {
  const folder = t.testdir();
  const keys = new VmKeys(folder);
  await keys.readOrMake("web1");
  await keys.remove("web1");
  await keys.remove("web1");
  t.strictSame(readdirSync(folder), []);
});

import t from "tap";
import { checkName, isValidName } from "../../cli/store/vm-name.ts";

t.test("names that are safe as parts of paths are accepted, others are refused", async (t) => {
  for (const name of ["a", "web1", "0", "a.b_c-d", "x".repeat(63)]) {
    t.ok(isValidName(name), name);
    t.equal(checkName(name, "name of a VM"), name);
  }
  for (const name of [
    "",
    ".",
    "..",
    ".a",
    "-a",
    "_a",
    "A",
    "a/b",
    "a\\b",
    "a b",
    "a\0",
    "a\n",
    "é",
    "x".repeat(64),
  ]) {
    t.notOk(isValidName(name), JSON.stringify(name));
    t.throws(() => checkName(name, "name of a VM"), /name of a VM/);
  }
});

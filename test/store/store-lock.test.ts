import { mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { lockStore } from "../../cli/store/store-lock.ts";

t.test("a store is one agent's at a time, by whatever path it is named", async (t) => {
  const folder = t.testdir();
  const store = join(folder, "store");
  const lock = await lockStore(store);
  await t.rejects(lockStore(store), /another agent has it/, "a second lock is refused");
  symlinkSync(store, join(folder, "alias"));
  await t.rejects(lockStore(join(folder, "alias")), /another agent has it/, "an alias is the same store");
  mkdirSync(join(folder, "other"));
  const other = await lockStore(join(folder, "other"));
  other.release();
  lock.release();
  const again = await lockStore(store);
  again.release();
});

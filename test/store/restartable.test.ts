import t from "tap";
import { isRestartable, newestRestartable } from "../../cli/store/restartable.ts";
import { firstMemory, ModelStore } from "./model-store.ts";

t.test("seeds are passed over", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const memory = firstMemory(model.memoryBytes);
  const seed = await model.add(memory, null, null);
  const state = await model.add(memory, seed);
  const newer = await model.add(memory, state, null);
  t.strictSame([seed, state, newer].map(isRestartable), [false, true, false]);
  t.equal(newestRestartable([seed, state, newer]), state);
  t.equal(newestRestartable([seed]), undefined);
  t.equal(newestRestartable([]), undefined);
});

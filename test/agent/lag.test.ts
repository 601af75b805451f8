import t from "tap";
import { baseLagOf, lagOf } from "../../cli/agent/lag.ts";
import type { StoredGeneration } from "../../cli/store/generation-reader.ts";
import { Holders } from "../../cli/store/holders.ts";
import { firstMemory, ModelStore } from "../store/model-store.ts";

t.test("what a peer can restart may be older than what the next leg builds on", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const { store } = model;
  const memory = firstMemory(model.memoryBytes);
  const holders = new Holders(store.path);
  const isHeld = ({ manifest: { generation, root } }: StoredGeneration) =>
    holders.record("b", { generation, root });
  t.equal(await lagOf(store, "b"), null, "nothing is known");
  t.equal(await baseLagOf(store, "b"), null);

  await isHeld(await model.add(memory, null, null));
  t.equal(await lagOf(store, "b"), null, "a seed is all that it has");
  t.type(await baseLagOf(store, "b"), "number");

  const state = await model.add(memory);
  await isHeld(state);
  const age = Date.now() - Date.parse(state.manifest.createdAt);
  const near = (lag: number | null) => lag !== null && Math.abs(lag - age) < 60_000;
  t.ok(near(await lagOf(store, "b")));

  await isHeld(await model.add(memory, state, null));
  t.ok(near(await lagOf(store, "b")), "the state before the seed");
  t.equal(await lagOf(store, "c"), null, "another site has none");
});

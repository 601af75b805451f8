import t from "tap";
import { allCells, cellName, faults, impossibleCells, quickCells } from "./matrix.ts";
import { allSteps, firstPlaces, returnPlaces, stateless } from "./places.ts";

t.test(
  "every state of both tables and every step within them is a place, or is named as one that cannot be",
  async (t) => {
    const places = returnPlaces.map(({ name }) => name);
    for (const step of allSteps) t.ok(places.includes(step) !== step in stateless, step);
    for (const name of places) t.ok(allSteps.includes(name), `${name} is published by a leg`);
  },
);

t.test("each pair of a fault and a place is a cell or is left out for a reason", async (t) => {
  const pairs = faults.length * (returnPlaces.length + firstPlaces.length);
  t.equal(allCells().length + impossibleCells().length, pairs);
  for (const { why } of impossibleCells()) t.not(why, "");
  t.equal(new Set(allCells().map(cellName)).size, allCells().length, "no name is there twice");
});

t.test("a quick run touches every state, every step and every fault", async (t) => {
  const touched = new Set(quickCells().map(({ place }) => place.name));
  for (const { name } of returnPlaces) t.ok(touched.has(name), name);
  const used = new Set(quickCells().map(({ fault }) => fault));
  for (const fault of faults) t.ok(used.has(fault), fault);
});

import t from "tap";
import { cannotRecord } from "./recorder.ts";
import { testScenario } from "./scenario-test.ts";
import { scenarios } from "./scenarios.ts";

for (const name of Object.keys(scenarios).filter((name) => name !== "disks")) {
  t.test(`a power loss at any moment of '${name}' leaves a store in order`, { skip: cannotRecord }, (t) =>
    testScenario(t, name),
  );
}

import t from "tap";
import { cannotRecord } from "./recorder.ts";
import { testScenario } from "./scenario-test.ts";

t.test("a power loss at any moment of a disk's life leaves it in order", { skip: cannotRecord }, (t) =>
  testScenario(t, "disks"),
);

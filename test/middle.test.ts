import t from "tap";
import { middle, upper } from "../cli/middle.ts";

t.test("middle and upper values", async (t) => {
  t.equal(middle([]), null);
  t.equal(middle([3, null, 1, Number.NaN]), 2);
  t.equal(upper([1, 2, 3, 4]), 3);
  t.equal(upper([null]), null);
});

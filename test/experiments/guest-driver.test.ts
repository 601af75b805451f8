import t from "tap";
import { checkAge } from "../../cli/experiments/guest-driver.ts";

t.test("an aged guest has most of its memory filled", async (t) => {
  checkAge("fresh", 0.1);
  checkAge("aged", 0.8);
  t.throws(() => checkAge("aged", 0.79), {
    reason: "failed",
    message: /^Cannot age the guest: 79 % of its memory is not zero.*80 % is needed/,
  });
});

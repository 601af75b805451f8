import t from "tap";
import { MeanRate } from "../../cli/wan/mean-rate.ts";

t.test("a mean needs some busy time, and then covers the last of it", async (t) => {
  const mean = new MeanRate();
  t.equal(mean.bytesPerSecond, null);
  mean.add(1000, 100);
  t.equal(mean.bytesPerSecond, null);
  mean.add(1000, 100);
  t.equal(mean.bytesPerSecond, 10_000);
  for (let i = 0; i < 100; i++) mean.add(500, 100);
  t.equal(mean.bytesPerSecond, 5000, "what is old does not count any more");
});

t.test("pieces that took no time count with the next one", async (t) => {
  const mean = new MeanRate();
  for (let i = 0; i < 10; i++) {
    mean.add(1000, 0);
    mean.add(1000, 100);
  }
  t.equal(mean.bytesPerSecond, 20_000);
});

t.test("one long piece is a mean of its own", async (t) => {
  const mean = new MeanRate();
  mean.add(100, 200);
  mean.add(10_000, 10_000);
  t.equal(mean.bytesPerSecond, 1000);
});

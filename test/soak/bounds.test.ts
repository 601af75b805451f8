import t from "tap";
import { grows, leaksFiles } from "./bounds.ts";

const MIB = 1 << 20;

t.test("what stays as it is does not grow, whatever its noise", async (t) => {
  t.notOk(grows(Array.from({ length: 40 }, (_, i) => (100 + (i % 7)) * MIB)));
  t.notOk(grows([]));
  t.notOk(grows(Array.from({ length: 20 }, (_, i) => 100 * i * MIB)), "too few to say");
});

t.test("what grows only at the beginning does not grow", async (t) => {
  t.notOk(grows(Array.from({ length: 40 }, (_, i) => Math.min(100, 10 * i) * MIB)));
});

t.test("what grows a little with each leg grows", async (t) => {
  t.ok(grows(Array.from({ length: 40 }, (_, i) => (100 + 4 * i) * MIB)));
  t.ok(grows(Array.from({ length: 200 }, (_, i) => (100 + i) * MIB)));
});

t.test("files that stay open after each leg are a leak, connections that come and go are none", async (t) => {
  t.ok(leaksFiles(Array.from({ length: 12 }, (_, i) => 30 + i)));
  t.notOk(leaksFiles(Array.from({ length: 12 }, (_, i) => 30 + ((i * 7) % 5))));
  t.notOk(leaksFiles([30, 60]), "too few to say");
});

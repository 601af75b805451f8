import t from "tap";
import { paceOf } from "../../cli/leg/seed-pass.ts";

const MIB = 1 << 20;

t.test("the nearer the end of the pass, the slower", async (t) => {
  const left = [1000, 257, 256, 65, 64, 3, 2, 0];
  const paces = left.map((mebibytes) => paceOf(mebibytes * MIB) / MIB);
  t.strictSame(paces, [256, 256, 64, 64, 4, 4, 0.5, 0.5]);
  t.equal(paceOf(18 * MIB, 16 * MIB) / MIB, 0.5, "so is what comes after the main memory");
});

t.test("at last QEMU sends less in its 100 ms than a guest writes in the seconds of a pass", async (t) => {
  t.ok(paceOf(0) / 10 < 20 * 4096);
});

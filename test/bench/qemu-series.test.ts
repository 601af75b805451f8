import t from "tap";
import { QEMU_BINARY } from "../qemu/qemu-fixture.ts";
import { type Cell, filledBytes, type Method, qemuVariants } from "./matrix-cells.ts";
import { runSeries } from "./matrix-series.ts";
import type { Measured } from "./measured.ts";

const memoryMiB = 64;

t.test("QEMU's variants are measured one after the other with the same guest", async (t) => {
  const measured = new Map<Method, Measured>();
  await runSeries(qemuVariants.map(cell), {
    qemuBinary: QEMU_BINARY,
    tell: () => {},
    keep: ({ method }, [run]) => measured.set(method, run as Measured),
    signal: new AbortController().signal,
  });
  const [plain, xbzrle, zstd] = qemuVariants.map((variant) => measured.get(variant));
  const filled = filledBytes(memoryMiB);
  t.ok(
    plain!.wireBytes > filled && plain!.wireBytes < 1.1 * filled,
    `${plain!.wireBytes} of ${filled} bytes`,
  );
  t.ok(xbzrle!.wireBytes > filled);
  t.ok(zstd!.wireBytes < filled / 2.5 && zstd!.wireBytes > filled / 4, `${zstd!.wireBytes} bytes`);
  for (const one of [plain, xbzrle, zstd]) {
    t.ok(one!.totalMs > one!.downtimeMs && one!.downtimeMs > 0);
    t.equal(one!.agentCpuSeconds, 0);
    t.ok(one!.qemuMemoryBytes! < 1.5 * 2 ** 30);
  }
});

function cell(method: Method): Cell {
  const link = { megabitsPerSecond: 1000, rttMs: 10 };
  return { method, memoryMiB, link, content: "mixed", work: null, runs: 1 };
}

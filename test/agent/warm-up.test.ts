import fc from "fast-check";
import t from "tap";
import type { ManagedVm } from "../../cli/agent/managed-vm.ts";
import { ramRanges, warmUp } from "../../cli/agent/warm-up.ts";
import type { QmpClient } from "../../cli/qemu/qmp-client.ts";
import { QmpError } from "../../cli/qemu/qmp-messages.ts";

const MiB = 2 ** 20;
const GiB = 2 ** 30;

t.test("ranges of small, middle and large memories", async (t) => {
  t.strictSame(ramRanges(64 * MiB), [[MiB, 64 * MiB]]);
  t.strictSame(ramRanges(2 * GiB), [[MiB, 2 * GiB]]);
  // Where the PCI hole begins depends on the machine type: from 2 GiB to 3.5 GiB nothing is touched.
  t.strictSame(ramRanges(3 * GiB), [[MiB, 2 * GiB]]);
  t.strictSame(ramRanges(3.5 * GiB), [[MiB, 2 * GiB]]);
  t.strictSame(ramRanges(8 * GiB), [
    [MiB, 2 * GiB],
    [4 * GiB, 8.5 * GiB],
  ]);
});

t.test("no range leaves the RAM of any machine type", async () => {
  fc.assert(
    fc.property(fc.integer({ min: 128, max: 2 ** 28 }), (units) => {
      const bytes = units * 8192;
      return ramRanges(bytes).every(([first, end]) =>
        // RAM below 4 GiB ends at 2 GiB at the least, at 3.5 GiB at the most; the rest begins at 4 GiB.
        first < 4 * GiB
          ? first >= MiB && end <= Math.min(bytes, 2 * GiB)
          : first === 4 * GiB && end <= 4 * GiB + bytes - 3.5 * GiB,
      );
    }),
  );
});

/** A QMP connection that only remembers what was asked. */
function recorder(memoryBytes: number, onSlice: (slices: number) => void = () => {}) {
  const asked: { val: number; size: number; filename: string }[] = [];
  const qmp = {
    isClosed: false,
    execute: async (command: string, options: (typeof asked)[number]) => {
      if (command !== "pmemsave") throw new Error(`${command} was asked`);
      asked.push(options);
      onSlice(asked.length);
    },
  };
  const vm = { definition: { memoryBytes }, activity: null as object | null };
  const run = () => warmUp(vm as unknown as ManagedVm, qmp as unknown as QmpClient);
  return { asked, qmp, vm, run };
}

t.test("all of the memory is read once, in small slices, into nothing", async (t) => {
  const { asked, run } = recorder(8 * MiB);
  await run();
  let at = MiB;
  for (const { val, size, filename } of asked) {
    t.equal(val, at);
    t.ok(size <= 2 * MiB);
    t.equal(filename, "/dev/null");
    at += size;
  }
  t.equal(at, 8 * MiB);
});

t.test("it ends when something is asked of the VM, and when QEMU is gone", async (t) => {
  const busy = recorder(64 * MiB, (slices) => {
    if (slices === 2) busy.vm.activity = {};
  });
  await busy.run();
  t.equal(busy.asked.length, 2);
  const gone = recorder(64 * MiB, (slices) => {
    if (slices < 2) return;
    gone.qmp.isClosed = true;
    throw new Error("the connection is closed");
  });
  await gone.run();
  t.equal(gone.asked.length, 2);
});

t.test("a QEMU that may not do it is left alone; what nobody expects is not hidden", async (t) => {
  const refused = recorder(64 * MiB, () => {
    throw new QmpError("pmemsave", "GenericError", "could not open '/dev/null'");
  });
  await refused.run();
  t.equal(refused.asked.length, 1);
  const broken = recorder(64 * MiB, () => {
    throw new Error("what is this");
  });
  await t.rejects(broken.run(), /what is this/);
});

import { spawn } from "node:child_process";
import { once } from "node:events";
import t from "tap";
import { findMapping, GuestMemory, PageState, stateOf } from "../../cli/predict/guest-memory.ts";
import type { QmpClient } from "../../cli/qemu/qmp-client.ts";

const upper = (...bits: number[]) => bits.reduce((word, bit) => word | (1 << (bit - 32)), 0);

t.test("an entry of the page map says what a page is", async (t) => {
  t.equal(stateOf(upper(63), true), PageState.own, "present, not of a file: written to");
  t.equal(stateOf(upper(62), true), PageState.own, "swapped");
  t.equal(stateOf(upper(63, 61), true), PageState.asMapped);
  t.equal(stateOf(0, true), PageState.asMapped, "not read so far");
  t.equal(stateOf(0, false), PageState.untouched);
  t.equal(stateOf(upper(63, 55), false), PageState.own);
});

t.test("the mapping is found by its address, and must be one", async (t) => {
  const maps = [
    "7f0000000000-7f0000400000 rw-p 00000000 fd:01 1234 /var/lib/bfmig/vm/generations/1/ram.img",
    "7f0000400000-7f0000800000 rw-p 00000000 00:00 0 ",
    "7f0000800000-7f0000900000 ---p 00000000 00:00 0 ",
  ].join("\n");
  t.same(findMapping(maps, 0x7f0000000000, 4 << 20), { isMapped: true });
  t.same(findMapping(maps, 0x7f0000400000, 4 << 20), { isMapped: false });
  t.equal(findMapping(maps, 0x7f0000400000, 5 << 20), null, "larger than it");
  t.equal(findMapping(maps, 0x7f0000800000, 4096), null, "not readable");
  t.equal(findMapping(maps, 0x1000, 4096), null);
});

t.test("a process that does not show its memory is no error", async (t) => {
  const child = spawn("sleep", ["60"]);
  t.teardown(async () => {
    child.kill();
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  });
  const saying = (text: string) => ({ execute: async () => text }) as unknown as QmpClient;
  const pid = child.pid as number;
  t.equal(await GuestMemory.open(pid, saying("Memory at 0x100000 is not RAM"), 1 << 20), null);
  t.equal(
    await GuestMemory.open(pid, saying("Host virtual address for 0x100000 (ram) is 0x100000"), 4096),
    null,
  );
  t.equal(await GuestMemory.open(2 ** 30, saying("… is 0x7f0000100000"), 4096), null, "no such process");
});

import { createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import t from "tap";
import {
  dirtiedAddress,
  dirtiedWordOffsets,
  fillPage,
  firstFilledPage,
  incrementedWordOffset,
  rewriteSeedAddress,
} from "../../cli/demo/guest.ts";
import { GuestConsole, readCounter, readWord } from "../../cli/demo/guest-console.ts";
import { OperationError } from "../../cli/errors.ts";
import { type Machine, startGuest } from "./guest-machine.ts";

const PAGE = 4096;
const seed = 0x1234_5678;
const fillPages = 4096;
const workingPages = 256;

t.test("the guest in QEMU", async (t) => {
  const machine = await startGuest({
    memoryKiB: 65528,
    fillBytes: fillPages * PAGE,
    workingSetBytes: workingPages * PAGE,
    dirtyPagesPerTick: 7,
    seed,
  });
  t.teardown(() => machine.stop());
  const guest = await machine.openConsole();
  await guest.ready();

  await t.test("fills memory as its twin does and dirties only the working set", async (t) => {
    await waitFor(async () => (await readWord(machine.qmp, dirtiedAddress)) > workingPages);
    await guest.pause();
    const memory = await machine.readPages(firstFilledPage, fillPages + 1);
    let dirtied = 0;
    let wrong = 0;
    for (let index = 0; index < fillPages; index++) {
      const actual = memory.subarray(index * PAGE, (index + 1) * PAGE);
      const expected = fillPage(firstFilledPage + index, seed);
      if (index < workingPages && copyWords(actual, expected, dirtiedWordOffsets)) dirtied++;
      if (Buffer.compare(actual, expected) !== 0) wrong++;
    }
    t.equal(wrong, 0, "every page is the twin's, but for the dirtied words");
    t.equal(dirtied, workingPages, "every page of the working set was dirtied");
    t.ok(
      memory.subarray(fillPages * PAGE).every((byte) => byte === 0),
      "the page after the area is zero",
    );
  });

  await t.test("pause stops dirtying but not the counter, go starts it again", async (t) => {
    await guest.pause();
    const before = await readState(machine);
    await waitFor(async () => (await readCounter(machine.qmp)) >= before.counter + 5);
    t.equal((await readState(machine)).dirtied, before.dirtied);
    await guest.go();
    await waitFor(async () => (await readState(machine)).dirtied > before.dirtied);
    await guest.pause();
  });

  await t.test("each tick dirties the set number of pages", async (t) => {
    await guest.go();
    await machine.qmp.execute("stop");
    const first = await readState(machine);
    await machine.qmp.execute("cont");
    await waitFor(async () => (await readCounter(machine.qmp)) >= first.counter + 20);
    await machine.qmp.execute("stop");
    const last = await readState(machine);
    await machine.qmp.execute("cont");
    await guest.pause();
    const ticks = last.counter - first.counter;
    const dirtied = (last.dirtied - first.dirtied) / 7;
    t.ok(Number.isInteger(dirtied));
    // A stop may fall between the two words' stores, on either side.
    t.ok(Math.abs(ticks - dirtied) <= 1, `${ticks} ticks, dirtied as in ${dirtied}`);
  });

  await t.test("zero, refill, rewrite and increment do it to the named pages only", async (t) => {
    const first = firstFilledPage + 1000;
    const expectPages = async (name: string, expected: (page: number) => Uint8Array) => {
      const memory = await machine.readPages(first - 1, 5);
      for (let index = 0; index < 5; index++) {
        const page = first - 1 + index;
        const inside = page >= first && page < first + 3;
        const actual = memory.subarray(index * PAGE, (index + 1) * PAGE);
        t.same(
          actual,
          Buffer.from(inside ? expected(page) : fillPage(page, seed)),
          `${name}: page ${index - 1}`,
        );
      }
    };
    await guest.zero(first, 3);
    await expectPages("zero", () => new Uint8Array(PAGE));
    await guest.increment(first, 3);
    await expectPages("increment", () => {
      const page = new Uint8Array(PAGE);
      page[incrementedWordOffset] = 1;
      return page;
    });
    await guest.rewrite(first, 3);
    const rewriteSeed = await readWord(machine.qmp, rewriteSeedAddress);
    t.not(rewriteSeed, seed);
    await expectPages("rewrite", (page) => fillPage(page, rewriteSeed));
    await guest.refill(first, 3);
    await expectPages("refill", (page) => fillPage(page, seed));
    await guest.zero(first, 0);
    await guest.rewrite(first, 0);
    await guest.increment(first, 0);
    await guest.refill(first, 0);
    await expectPages("no pages", (page) => fillPage(page, seed));
  });

  await t.test("many commands at once are carried out in order", async (t) => {
    const page = firstFilledPage + 2000;
    await Promise.all([
      guest.zero(page, 1),
      ...Array.from({ length: 20 }, () => guest.increment(page, 1)),
      guest.ready(),
    ]);
    t.equal((await machine.readPages(page, 1))[incrementedWordOffset], 20);
  });

  await t.test("ticks show on the console", async () => {
    const before = guest.dots;
    await waitFor(async () => guest.dots > before);
  });
});

t.test("a guest with content that compresses fills and rewrites as its twin does", async (t) => {
  const machine = await startGuest({
    memoryKiB: 65528,
    fillBytes: fillPages * PAGE,
    workingSetBytes: 0,
    dirtyPagesPerTick: 0,
    seed,
    content: "mixed",
  });
  t.teardown(() => machine.stop());
  const guest = await machine.openConsole();
  await guest.ready();
  await guest.rewrite(firstFilledPage + 1, 1);
  const rewriteSeed = await readWord(machine.qmp, rewriteSeedAddress);
  const memory = await machine.readPages(firstFilledPage, fillPages + 1);
  let wrong = 0;
  for (let index = 0; index < fillPages; index++) {
    const actual = memory.subarray(index * PAGE, (index + 1) * PAGE);
    const expected = fillPage(firstFilledPage + index, index === 1 ? rewriteSeed : seed, "mixed");
    if (Buffer.compare(actual, expected) !== 0) wrong++;
  }
  t.equal(wrong, 0);
  t.ok(
    memory.subarray(fillPages * PAGE).every((byte) => byte === 0),
    "the page after the area is zero",
  );
});

t.test("the console ends", async (t) => {
  const path = join(t.testdir(), "serial.sock");
  const { server, accepted } = await listen(path);
  t.teardown(() => server.close());

  await t.test("with a clear error when QEMU goes away during a command", async (t) => {
    const guest = await GuestConsole.connect(path);
    const socket = await accepted();
    const command = t.rejects(guest.pause(), OperationError);
    socket.destroy();
    await command;
    await t.rejects(guest.go(), /serial connection ended/);
  });

  await t.test("when the guest does not answer in time or does not know the command", async (t) => {
    const silent = await GuestConsole.connect(path, { timeoutMs: 10 });
    await accepted();
    await t.rejects(silent.pause(), /no answer within 10 ms/);
    const refused = await GuestConsole.connect(path);
    (await accepted()).write("..!");
    await t.rejects(refused.pause(), /does not know/);
  });

  await t.test("before it began when nobody listens", async (t) => {
    await t.rejects(GuestConsole.connect(`${path}.missing`), OperationError);
  });
});

async function readState(machine: Machine): Promise<{ counter: number; dirtied: number }> {
  return { counter: await readCounter(machine.qmp), dirtied: await readWord(machine.qmp, dirtiedAddress) };
}

/** Copies words that may differ; tells whether any did. */
function copyWords(from: Uint8Array, to: Uint8Array, offsets: readonly number[]): boolean {
  let differed = false;
  for (const offset of offsets) {
    for (let at = offset; at < offset + 4; at++) {
      if (to[at] !== from[at]) differed = true;
      to[at] = from[at]!;
    }
  }
  return differed;
}

async function waitFor(condition: () => Promise<boolean>): Promise<void> {
  while (!(await condition())) await sleep(10);
}

async function listen(path: string): Promise<{ server: Server; accepted: () => Promise<Socket> }> {
  const sockets: Socket[] = [];
  const waiting: ((socket: Socket) => void)[] = [];
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.resume();
    const next = waiting.shift();
    if (next === undefined) sockets.push(socket);
    else next(socket);
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  const accepted = async () => sockets.shift() ?? new Promise<Socket>((resolve) => waiting.push(resolve));
  return { server, accepted };
}

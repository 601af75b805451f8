import t from "tap";
import { fillPage, firstFilledPage } from "../../cli/demo/guest.ts";
import { readCounter } from "../../cli/demo/guest-console.ts";
import { forkLink } from "../../cli/demo/link-process.ts";
import { type PrecopyProgress, runPrecopy } from "../../cli/demo/precopy.ts";
import { type Machine, type MachineOptions, startGuest } from "./guest-machine.ts";

const PAGE = 4096;
const seed = 99;
const fillBytes = 24 * 2 ** 20;
const shape = { memoryKiB: 65528, fillBytes, workingSetBytes: 2 ** 20, dirtyPagesPerTick: 2, seed };

t.test("plain pre-copy over a link", async (t) => {
  const { source, destination } = await startPair(t);
  const progress: PrecopyProgress[] = [];
  const before = await readCounter(source.qmp);
  const result = await runPrecopy({
    source: source.qmp,
    destination: destination.qmp,
    openLink: openLink(400e6),
    onProgress: (step) => progress.push(step),
  });
  await t.test("leaves the guest running at the destination, its memory whole", async (t) => {
    const arrived = await readCounter(destination.qmp);
    const stoppedAt = await readCounter(source.qmp);
    t.ok(stoppedAt > before, "the guest ran on during the migration");
    t.ok(arrived >= stoppedAt, "the counter goes on from where it was");
    const guest = await destination.openConsole();
    await guest.ready();
    await guest.pause();
    t.ok((await readCounter(destination.qmp)) > arrived);
    const first = firstFilledPage + shape.workingSetBytes / PAGE;
    const count = (fillBytes - shape.workingSetBytes) / PAGE;
    const memory = await destination.readPages(first, count);
    let wrong = 0;
    for (let index = 0; index < count; index++) {
      const actual = memory.subarray(index * PAGE, (index + 1) * PAGE);
      if (Buffer.compare(actual, fillPage(first + index, seed)) !== 0) wrong++;
    }
    t.equal(wrong, 0);
    const { status } = await source.qmp.execute<{ status: string }>("query-status");
    t.equal(status, "postmigrate");
  });
  await t.test("tells what it cost", async (t) => {
    t.ok(result.wireBytes > fillBytes, "each filled page crossed the link");
    t.ok(result.wireBytes >= result.ramBytes, "and more than RAM alone");
    t.ok(result.ramBytes > fillBytes);
    t.ok(result.rounds >= 2);
    t.ok(result.totalMs > result.stopToRunMs);
    t.ok(result.stopToRunMs > 0);
    t.ok(result.downtimeMs >= 0);
    t.ok(progress.length > 0);
    t.comment(JSON.stringify(result));
  });
});

for (const variant of ["xbzrle", "multifd-zstd"] as const) {
  t.test(`pre-copy with ${variant} over one link for all its connections`, async (t) => {
    const { source, destination } = await startPair(t, { content: "mixed" });
    const result = await runPrecopy({
      source: source.qmp,
      destination: destination.qmp,
      openLink: openLink(400e6),
      variant,
    });
    t.match(await destination.qmp.execute("query-status"), { status: "running" });
    if (variant === "multifd-zstd")
      t.ok(result.wireBytes < fillBytes / 2, "what crosses the link is compressed");
    else t.ok(result.wireBytes > fillBytes, "a first pass is not");
    const guest = await destination.openConsole();
    await guest.ready();
    await guest.pause();
    const first = firstFilledPage + shape.workingSetBytes / PAGE;
    const memory = await destination.readPages(first, 16);
    for (let index = 0; index < 16; index++) {
      const actual = memory.subarray(index * PAGE, (index + 1) * PAGE);
      t.equal(Buffer.compare(actual, fillPage(first + index, seed, "mixed")), 0, `page ${index}`);
    }
  });
}

t.test("a VM that does not run is refused before anything is opened", async (t) => {
  const { source, destination } = await startPair(t);
  await source.qmp.execute("stop");
  await t.rejects(
    runPrecopy({
      source: source.qmp,
      destination: destination.qmp,
      openLink: async () => t.fail("a link was opened") as never,
    }),
    { name: "OperationError", message: /does not run/ },
  );
});

t.test("an abort cancels, and the VM stays", async (t) => {
  const { source, destination } = await startPair(t);
  const abort = new AbortController();
  await t.rejects(
    runPrecopy({
      source: source.qmp,
      destination: destination.qmp,
      openLink: openLink(8e6),
      onProgress: () => abort.abort(new Error("enough")),
      signal: abort.signal,
    }),
    /enough/,
  );
  t.match(await source.qmp.execute("query-status"), { status: "running" });
});

t.test("a lost link is reported, and the VM stays", async (t) => {
  const { source, destination } = await startPair(t);
  const open = openLink(8e6);
  let cut: (() => Promise<void>) | undefined;
  await t.rejects(
    runPrecopy({
      source: source.qmp,
      destination: destination.qmp,
      openLink: async (host, port) => {
        const link = await open(host, port);
        cut = () => link.cut();
        return link;
      },
      onProgress: () => void cut?.(),
    }),
    { name: "OperationError", reason: "aborted" },
  );
  t.match(await source.qmp.execute("query-status"), { status: "running" });
});

function openLink(rateBitsPerSecond: number) {
  return (targetHost: string, targetPort: number) =>
    forkLink({ targetHost, targetPort, rateBitsPerSecond, oneWayDelayMs: 5 });
}

async function startPair(
  t: { teardown(end: () => Promise<void>): void },
  changes: Partial<MachineOptions> = {},
): Promise<{ source: Machine; destination: Machine }> {
  const source = await startGuest({ ...shape, ...changes });
  t.teardown(() => source.stop());
  const guest = await source.openConsole();
  await guest.ready();
  const destination = await startGuest({ ...shape, ...changes, incoming: true });
  t.teardown(() => destination.stop());
  return { source, destination };
}

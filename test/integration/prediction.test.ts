/** Predictions with a real guest and two sites: before anything is sent, recorded with what came of them. */

import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import t from "tap";
import { guestName, safeMemoryBytes, Testbed } from "../../cli/demo/testbed.ts";
import { legHistoryFile } from "../../cli/store/leg-history.ts";
import { jsonLines, runProgram } from "../commands/program.ts";

t.setTimeout(300_000);
const mebibyte = 2 ** 20;
const fillBytes = 16 * mebibyte;
/** Not what is assumed of a link that nobody knows. */
const rttMs = 90;

interface Answer {
  readonly leg: string;
  readonly converges: boolean;
  readonly prediction: {
    readonly totalMs: Range | null;
    readonly wireBytes: Range | null;
    readonly downtimeMs: Range;
  };
  readonly basis: {
    readonly link: { readonly rateFrom: string; readonly rttMs: number; readonly rttFrom: string };
    readonly memory: { readonly from: string; readonly changedBytes: number; readonly filledBytes: number };
    readonly disks: { readonly markedBytes: number; readonly changedBytes: number } | null;
  };
  readonly notes: readonly string[];
}
interface Range {
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

t.test("a leg is predicted, made, and its prediction kept", async (t) => {
  const testbed = await Testbed.create({
    memoryBytes: await safeMemoryBytes(64 * mebibyte, "qemu-system-x86_64"),
    fillBytes,
    workingSetBytes: mebibyte,
    dirtyPagesPerSecond: 100,
    rateBitsPerSecond: 200e6,
    rttMs,
    keepFolder: null,
    disk: { sizeBytes: 16 * mebibyte, filledBytes: 4 * mebibyte, content: "dense" },
  });
  t.teardown(() => testbed.close());
  await testbed.startSites();
  const a = testbed.site("a");
  await a.ask("start", { vm: guestName });
  const console = await testbed.openConsole("a");
  await console.ready();
  const control = ["--control", a.controlPath, "--json"];
  const sent = async () => (await testbed.link("a", "b").stats()).aToB;
  const bfmig = async (...args: string[]) => {
    const end = await runProgram([...args, ...control]);
    t.notMatch(end.out, /NaN|Infinity/);
    return { ...end, last: jsonLines(end).at(-1) as unknown as Answer & Record<string, unknown> };
  };

  const before = await sent();
  const dry = await bfmig("migrate", guestName, "--to", "b", "--dry-run", "--link-rate", "200M");
  t.equal(dry.code, 0, dry.err);
  t.match(dry.last, {
    event: "done",
    leg: "first",
    converges: true,
    basis: { memory: { from: "contents" } },
  });
  const { memory, disks, link } = dry.last.basis;
  t.ok(
    memory.filledBytes >= fillBytes && memory.filledBytes < fillBytes + 2 * mebibyte,
    String(memory.filledBytes),
  );
  t.match(disks, { changedBytes: 4 * mebibyte });
  t.match(link, { rateFrom: "given", rttFrom: "measured now" });
  const { totalMs, wireBytes, downtimeMs } = dry.last.prediction;
  for (const range of [totalMs, wireBytes, downtimeMs])
    t.ok(range && range.low > 0 && range.low <= range.value && range.value <= range.high);
  t.ok((await sent()) - before < 2000, "some pings and beats, no byte of a leg");
  t.same(
    await testbed
      .site("b")
      .ask("list", {})
      .then((answer) => answer["vms"]),
    [],
    "the peer has heard nothing",
  );

  const guessed = await bfmig("predict", guestName, "--to", "b");
  t.match(guessed.last.notes.join(" "), /nothing is known of this link/);
  const of = (answer: Answer) => answer.prediction.totalMs as Range;
  t.ok(of(guessed.last).high / of(guessed.last).low > 2 * (of(dry.last).high / of(dry.last).low), "wider");
  const away = await bfmig("predict", guestName, "--to", "b", "--away", "1h");
  t.match(away.last, { away: null });
  t.match(away.last.notes.join(" "), /two different ages/);

  const done = await a.ask("migrate", {
    vm: guestName,
    to: "b",
    downtimeLimitMs: 300,
    timeoutMs: null,
    bitsPerSecond: null,
    link: { rate: 200e6, rttMs: null, loss: null },
  });
  const predicted = done as unknown as Answer & {
    predictedWireBytes: number;
    wireBytes: number;
    predictedMs: number;
  };
  t.match(predicted, { predictedMs: Number, predictedWireBytes: Number });
  const error = Math.abs(predicted.predictedWireBytes - predicted.wireBytes) / predicted.wireBytes;
  t.ok(
    error < 0.15,
    `dense memory and disk: ${predicted.predictedWireBytes} predicted, ${predicted.wireBytes} sent`,
  );
  const lines = (await readFile(join(a.storePath, guestName, legHistoryFile), "utf8")).trimEnd().split("\n");
  t.equal(lines.length, 1);
  const record = JSON.parse(lines[0]);
  t.match(record, { kind: "first", to: "b", predicted: predicted.prediction, learnedLegs: 0 });
  t.ok(
    record.rttMs >= rttMs,
    `it was asked for its round trip though the leg took the connection: ${record.rttMs} ms`,
  );

  const history = await bfmig("predict", guestName, "--history");
  t.match(history.last, { legs: [{ to: "b", kind: "first" }], wireBytes: { legs: 1 } });
  const table = await runProgram(["predict", guestName, "--history", "--control", a.controlPath]);
  t.match(table.out, /nine of ten/);

  const b = testbed.site("b");
  const back = (await b.ask("predict", {
    vm: guestName,
    to: "a",
    downtimeLimitMs: 300,
    bitsPerSecond: null,
    link: { rate: 200e6, rttMs: null, loss: null },
  })) as unknown as Answer;
  t.equal(back.leg, "return");
  t.equal(back.basis.memory.from, "contents");
  t.ok(back.basis.memory.changedBytes < 2 * mebibyte, "the working set at most");

  const usage: [string[], RegExp][] = [
    [["predict", guestName, "--to", "nowhere"], /peers of this site: b/],
    [["predict", guestName], /give --to SITE, or --history/],
    [["predict", guestName, "--to", "b", "--when"], /belong together/],
    [["predict", guestName, "--to", "b", "--loss", "2"], /a share from 0 to 0.5/],
    [["predict", guestName, "--to", "b", "--link-rate", "0.001"], /above zero/],
    [["predict", guestName, "--to", "b", "--from", "2026-03-29T00:00:00"], /a time with an offset/],
    [["predict", guestName, "--to", "b"], /does not run here/],
  ];
  for (const [args, message] of usage) t.match((await bfmig(...args)).err, message, args.slice(2).join(" "));
  const gap = join(testbed.socketFolder, "gap.csv");
  await writeFile(
    gap,
    "time,a,b\n2026-03-29T00:00:00Z,1,2\n2026-03-29T01:00:00Z,1,2\n2026-03-29T03:00:00Z,1,2\n",
  );
  t.match(
    (await bfmig("predict", guestName, "--to", "b", "--when", "--costs", gap)).err,
    /a gap, or a wrong offset/,
  );
  console.close();
});

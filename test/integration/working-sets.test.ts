import { once } from "node:events";
import { connect } from "node:net";
import { join } from "node:path";
import t from "tap";
import type { ControlLine } from "../../cli/control-client.ts";
import { guestName } from "../../cli/demo/testbed.ts";
import { readManifest } from "../../cli/store/vm-store.ts";
import { loadCore } from "../../src/core.ts";
import type { RecordCounts } from "../../src/delta/vocabulary.ts";
import { differences } from "./memory.ts";
import { type Change, type ComparedLeg, type LegOptions, Rig } from "./rig.ts";

const fillPages = 4096;

/** What happens before each leg: a change of pages of the filled area. */
const workloads: readonly {
  readonly name: string;
  readonly changes: readonly (readonly [Change, number, number])[];
}[] = [
  { name: "nothing changed", changes: [] },
  { name: "1 % incremented", changes: [["increment", 1000, 41]] },
  { name: "half rewritten", changes: [["rewrite", 512, fillPages / 2]] },
  { name: "all rewritten", changes: [["rewrite", 0, fillPages]] },
  { name: "all incremented", changes: [["increment", 0, fillPages]] },
  { name: "half zeroed", changes: [["zero", 0, fillPages / 2]] },
  {
    name: "all kinds at once",
    changes: [
      ["refill", 0, 700],
      ["zero", 700, 700],
      ["rewrite", 1400, 700],
      ["increment", 2100, 700],
      ["rewrite", 2800, 700],
      ["zero", 3100, 100],
      ["increment", 3100, 50],
    ],
  },
  { name: "all as after boot", changes: [["refill", 0, fillPages]] },
];

t.test("whatever share of the memory changed, both sites hold the same after the leg", async (t) => {
  const rig = await Rig.boot(t, {
    fillBytes: fillPages * 4096,
    workingSetBytes: 0,
    dirtyPagesPerSecond: 0,
    keep: 20,
  });
  let at = "a";
  const leg = async (options: LegOptions = {}): Promise<ComparedLeg> => {
    const from = at;
    at = from === "a" ? "b" : "a";
    const compared = await rig.comparedLeg(from, at, options);
    await completeCommand(rig.testbed.consolePath(at));
    await rig.untilAlive(at);
    return compared;
  };
  const first = await leg();
  t.equal(differences(first.source, first.destination), "");

  for (const { name, changes } of workloads) {
    await t.test(`${name} between two legs`, async (t) => {
      for (const [what, from, count] of changes) await rig.change(at, what, from, count);
      const { done, source, destination } = await leg();
      t.equal(differences(source, destination), "", "no page differs between the sites");
      t.strictSame(rig.model.check(destination), [], "it is what the guest was told to make");
      t.equal(done.leg, "return");
      if (changes.length === 0)
        t.ok(done.wireBytes < first.done.wireBytes / 50, `${done.wireBytes} bytes on the WAN`);
    });
  }

  await t.test("pages that change and change back while the leg runs", async (t) => {
    await rig.change(at, "rewrite", 0, 1024);
    let changingBack: Promise<void> | null = null;
    const from = at;
    const { done, source, destination } = await leg({
      bitsPerSecond: 20e6,
      onLine: (line) => {
        changingBack ??= hasSent(line, 1 << 20)
          ? rig.change(from, "refill", 0, 512).then(() => rig.change(from, "zero", 512, 256))
          : null;
      },
    });
    t.ok(changingBack !== null, "the guest changed them back");
    await changingBack;
    t.equal(differences(source, destination), "", "no page differs between the sites");
    t.strictSame(rig.model.check(destination), [], "it is what the guest made last");
    for (const site of ["a", "b"]) {
      const records = await recordsOf(rig, site, done.generation);
      t.ok(records.same > 0, `${records.same} pages were sent again as unchanged`);
      t.ok(records.zero > 0, `${records.zero} pages were sent as zero`);
    }
  });

  await t.test("changing everything without pause until the switchover", async (t) => {
    const from = at;
    let isOver = false;
    const changing = rig.onConsole(from, async (guest) => {
      for (let round = 0; !isOver; round++) {
        await guest.increment(256, fillPages).then(() => rig.model.increment(0, fillPages));
        if (round % 8 === 7)
          await guest.zero(256 + 64 * round, 64).then(() => rig.model.zero(64 * round, 64));
        if (round >= 30) break;
      }
    });
    // The source's QEMU may be gone, and the console with it, before the leg is.
    changing.catch(() => {});
    const over = () => {
      isOver = true;
    };
    const { source, destination } = await leg({
      downtimeLimitMs: 2000,
      onLine: (line) => line["state"] === "stopped" && over(),
    }).finally(over);
    t.equal(differences(source, destination), "", "no page differs between the sites");
    // The console was cut off in the middle of a command: what it had done then only memory itself tells.
    await changing.catch(() => {});
  });

  t.strictSame(rig.runs.overlaps(), [], "never did two copies run");
  const { findings } = await rig.verifyStores(["a", "b"]);
  t.strictSame(findings, [], "the verifier finds nothing wrong");
});

/**
 * A console is one site's: a command that the stop has cut off stays so, and the guest waits for the rest of it
 * without end, ticks included. Two words of zeroes complete it; a guest that waits for nothing does not know them.
 */
async function completeCommand(path: string): Promise<void> {
  const socket = connect(path);
  await once(socket, "connect");
  socket.end(new Uint8Array(8));
  socket.resume();
  await once(socket, "close");
}

function hasSent(line: ControlLine, bytes: number): boolean {
  return line.event === "progress" && (line["wireBytes"] as number) > bytes;
}

async function recordsOf(rig: Rig, site: string, generation: number): Promise<RecordCounts> {
  const generations = join(rig.site(site).storePath, guestName, "generations");
  return (await readManifest(await loadCore(), join(generations, String(generation)))).records;
}

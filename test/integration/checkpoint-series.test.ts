/** Many checkpoints in a row, with the legs between them: cheap, bounded, each of them whole; and the command that repeats them. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import t from "tap";
import { guestName } from "../../cli/demo/testbed.ts";
import { chainOf } from "../../cli/store/generation-reader.ts";
import { checkpoint, comparedCheckpoint, generationMemory, haltingRig, ramOnly } from "./checkpoint-rig.ts";
import type { TestDisk } from "./disk-files.ts";
import { DiskRig } from "./disk-rig.ts";
import { counterIn, differences } from "./memory.ts";
import { waitFor } from "./wait-for.ts";

const MIB = 1 << 20;
const keep = 2;
const oneDisk: readonly TestDisk[] = [
  { id: "disk0", lengthBytes: 48 * MIB, kind: "raw", initial: ["write -P 4 8M 4M"] },
];

t.test("chains, folders and images stay bounded, and each checkpoint is whole", async (t) => {
  const bed = await haltingRig(t, oneDisk, { keep });
  const { disks } = bed;
  const { rig } = disks;
  const imageFiles = async (site: string) =>
    (await readdir(join(rig.site(site).storePath, guestName, "images"))).filter((name) =>
      name.endsWith(".qcow2"),
    );
  const pauses: number[] = [];
  for (let n = 1; n <= 13; n++) {
    await disks.io("a", "disk0", `write -P ${n} ${n}M 200k`);
    await rig.change("a", "rewrite", 40 * n, 50);
    const isLooked = n % 4 === 1;
    if (isLooked) {
      const { done, memory, twins } = await comparedCheckpoint(bed, "a", "b");
      for (const site of ["a", "b"]) {
        const kept = await generationMemory(rig, site, done.generation);
        t.equal(differences(ramOnly(kept), ramOnly(memory)), "", `RAM of ${done.generation} at ${site}`);
        t.strictSame(await disks.generationDifferences(site, done.generation, twins), []);
      }
    } else {
      const done = await checkpoint(rig, "a", "b");
      pauses.push(done.pauseMs);
      t.equal(done.leg, "return");
      t.ok(done.ramBytes < 16 * MIB, `${done.ramBytes} bytes of memory`);
      t.ok(done.diskBytes <= MIB, `${done.diskBytes} bytes of disk`);
    }
    t.strictSame(await disks.differences("a"), [], "the VM has its data");
  }
  t.comment(`pauses: ${pauses.join(", ")} ms`);
  for (const site of ["a", "b"]) {
    const store = await disks.store(site);
    await waitFor(`${site} has tidied`, async () => {
      const { generations } = await store.list();
      const isBounded =
        generations.length <= keep + 4 && generations.every((one) => chainOf(one).length <= 5);
      return (isBounded && (await imageFiles(site)).length <= keep + 4) || null;
    });
    const { generations } = await store.list();
    t.equal(generations.at(-1)?.manifest.generation, 13);
    const [top] = generations.at(-1)?.manifest.disks ?? [];
    t.ok(top && (await store.images.chain(top.image)).length <= keep + 4, "the images' chain is short");
  }
  await Promise.all([rig.idle("a"), rig.idle("b")]);

  await t.test("a leg after them carries what changed since, and one back too", async (t) => {
    await disks.io("a", "disk0", "write -P 77 20M 100k");
    const there = await disks.comparedLeg("a", "b");
    t.equal(there.done.leg, "return");
    t.ok(there.done.diskBytes <= MIB);
    t.equal(differences(there.source, there.destination), "");
    t.strictSame(there.different, []);
    await rig.untilAlive("b");
    await rig.idle("a");
    t.equal((await checkpoint(rig, "b", "a")).leg, "return", "the other site makes them now");
    await disks.io("b", "disk0", "write -P 78 21M 100k");
    t.equal((await disks.comparedLeg("b", "a")).different.length, 0);
    await rig.untilAlive("a");
  });
  t.strictSame(rig.runs.overlaps(), []);
  await Promise.all([rig.idle("a"), rig.idle("b")]);
  const { findings } = await rig.verifyStores(["a", "b"]);
  t.strictSame(findings, [], "the verifier finds nothing wrong");
});

t.test("every kept checkpoint can be restarted, also an older one", async (t) => {
  const bed = await haltingRig(t, oneDisk, { keep: 3 });
  const { disks } = bed;
  const { rig } = disks;
  const kept = [];
  for (let n = 1; n <= 3; n++) {
    await disks.io("a", "disk0", `write -P ${n} ${n}M 200k`);
    await rig.change("a", "rewrite", 40 * n, 50);
    kept.push({ ...(await comparedCheckpoint(bed, "a", "b")), model: rig.model.copy() });
  }
  await rig.idle("b");
  await rig.site("a").kill();
  await rig.killQemu("a");
  for (const [i, { done, twins, memory, model }] of [...kept].reverse().entries()) {
    const { generation } = done;
    const recovered = await rig.site("b").ask("recover", { vm: guestName, generation, force: i === 0 });
    t.equal(recovered["generation"], generation);
    await rig.untilAlive("b");
    await disks.restoreTwins(twins);
    t.strictSame(await disks.differences("b"), [], `disk of generation ${generation}`);
    const now = await rig.stoppedDump("b");
    t.strictSame(model.check(now), [], `memory of generation ${generation}`);
    t.ok(counterIn(now) >= counterIn(memory));
    await rig.killQemu("b");
  }
});

t.test(
  "sync --every makes one line a checkpoint, skips what is in the way, and ends when the VM has moved",
  async (t) => {
    const disks = await DiskRig.boot(t, oneDisk);
    const { rig } = disks;
    const socket = join(rig.testbed.socketFolder, "run", "a.sock");
    const options = ["--to", "b", "--checkpoint", "--every", "1s", "--downtime-limit", "1s", "--json"];
    const main = new URL("../../cli/main.js", import.meta.url).pathname;
    const child = spawn(process.execPath, [main, "sync", guestName, ...options, "--control", socket]);
    t.teardown(() => child.kill("SIGKILL"));
    const lines: Record<string, unknown>[] = [];
    createInterface({ input: child.stdout }).on("line", (line) => lines.push(JSON.parse(line)));
    const ended = once(child, "exit");
    const syncs = (outcome: string) =>
      lines.filter((line) => line["event"] === "sync" && line["outcome"] === outcome);
    await waitFor("three checkpoints", () => syncs("done").length >= 3 || null);
    for (const line of syncs("done")) {
      t.ok((line["pauseMs"] as number) > 0);
      t.ok((line["lagMs"] as number) >= 0 && (line["lagMs"] as number) <= (line["tookMs"] as number));
    }
    const monitor = await rig.monitor("a");
    await monitor.execute("stop");
    await waitFor("one is skipped", () => syncs("skipped").length > 0 || null);
    t.match(syncs("skipped")[0], { why: /does not run|under way/ });
    t.type(syncs("skipped").at(-1)?.["lagMs"], "number");
    await monitor.execute("cont");
    const { holders } = (await rig.site("a").ask("show", { vm: guestName })) as unknown as {
      holders: Record<string, { lagMs: number | null }>;
    };
    t.type(holders["b"]?.lagMs, "number", "show tells it too");
    for (;;) {
      const leg = await rig.begin("a", "b");
      if (leg.done) break;
      t.match(leg.error, /sync is under way/);
    }
    t.strictSame(await ended, [0, null]);
    t.match(lines.at(-2), { event: "sync", outcome: "moved", why: "it is at b" });
    t.match(lines.at(-1), { event: "done", ended: "moved", checkpoints: syncs("done").length });
  },
);

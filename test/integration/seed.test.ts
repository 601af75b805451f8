/** Seeds: changes are carried ahead while the VM runs, and what comes after them is cheap and right. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import t from "tap";
import { guestName } from "../../cli/demo/testbed.ts";
import { chainOf } from "../../cli/store/generation-reader.ts";
import { isRestartable } from "../../cli/store/restartable.ts";
import { endsAs } from "../store/operation-errors.ts";
import { checkpoint, comparedCheckpoint, generationMemory, haltingRig, seed } from "./checkpoint-rig.ts";
import type { TestDisk } from "./disk-files.ts";
import { DiskRig } from "./disk-rig.ts";
import { differences } from "./memory.ts";
import { Rig } from "./rig.ts";
import { untilStanding } from "./standing-rig.ts";
import { waitFor } from "./wait-for.ts";

const PAGE = 4096;
const MIB = 1 << 20;
const workingSetBytes = 4 * MIB;
const twoDisks: readonly TestDisk[] = [
  { id: "disk0", lengthBytes: 64 * MIB + 512, kind: "template", initial: ["write -P 3 0 8M"] },
  { id: "disk1", lengthBytes: 32 * MIB, bus: "virtio-scsi", kind: "raw", initial: ["write -P 4 8M 4M"] },
];
const oneDisk = twoDisks.slice(1);

/** What QEMU says of the VM's standing still and going on. */
async function watchStops(rig: Rig, site: string): Promise<string[]> {
  const stops: string[] = [];
  (await rig.monitor(site)).onEvent(({ name }) => {
    if (name === "STOP" || name === "RESUME") stops.push(name);
  });
  return stops;
}

/** Pages in which two dumps differ. */
function differingPages(a: Buffer, b: Buffer): number {
  let count = 0;
  for (let at = 0; at < a.length; at += PAGE) {
    if (a.compare(b, at, at + PAGE, at, at + PAGE) !== 0) count++;
  }
  return count;
}

t.test("a VM that writes all the time is carried ahead without a pause, and the leg is small", async (t) => {
  const disks = await DiskRig.boot(t, twoDisks, { workingSetBytes });
  const { rig } = disks;
  const stops = await watchStops(rig, "a");
  const first = await seed(rig, "a", "b");
  t.match(first, { leg: "first", purpose: "seed", epoch: 1, generation: 1, pauseMs: 0 });
  t.ok(first.lagMs > 0 && first.lagMs <= first.totalMs + 1000, `${first.lagMs} ms behind`);
  t.strictSame(stops, [], "QEMU never stopped it");

  await t.test("it has nearly all that the guest has", async (t) => {
    const now = await rig.stoppedDump("a");
    for (const site of ["a", "b"]) {
      const pages = differingPages(await generationMemory(rig, site, 1), now);
      // The window of the video memory has other bytes in a dump by address.
      t.ok(pages <= workingSetBytes / PAGE + 64, `${pages} pages are others at ${site}`);
    }
  });
  await rig.change("a", "rewrite", 3000, 300);
  await disks.io("a", "disk0", `write -P 9 ${2 * MIB} 300k`);
  await disks.io("a", "disk1", `write -P 8 ${9 * MIB} 64k`);
  const there = await disks.comparedLeg("a", "b");
  t.equal(there.done.leg, "return");
  t.equal(there.done.generation, 2);
  t.ok(there.done.changedBytes <= workingSetBytes + 4 * MIB, `${there.done.changedBytes} bytes of memory`);
  t.ok(there.done.diskBytes <= MIB, `${there.done.diskBytes} bytes of disks`);
  t.equal(differences(there.source, there.destination), "");
  t.strictSame(there.different, [], "and the disks are the same");
  t.strictSame(rig.model.check(there.destination), []);
  await rig.untilAlive("b");
  const back = await disks.comparedLeg("b", "a");
  t.equal(back.done.leg, "return");
  t.equal(differences(back.source, back.destination), "");
  t.strictSame(back.different, []);
  await rig.untilAlive("a");
  t.strictSame(rig.runs.overlaps(), []);
  const { findings } = await rig.verifyStores(["a", "b"]);
  t.strictSame(findings, [], "the verifier finds nothing wrong");
});

t.test("seeds in a row stay short and take no checkpoint's place", async (t) => {
  const keep = 2;
  const bed = await haltingRig(t, oneDisk, { keep });
  const { disks } = bed;
  const { rig } = disks;
  const change = async (n: number) => {
    await disks.io("a", "disk1", `write -P ${n} ${n}M 200k`);
    await rig.change("a", "rewrite", 40 * n, 50);
  };
  const checkpoints: number[] = [];
  for (let n = 1; n <= 6; n++) {
    await change(n);
    if (n === 2 || n === 4) checkpoints.push((await checkpoint(rig, "a", "b")).generation);
    else {
      const done = await seed(rig, "a", "b");
      t.equal(done.leg, n === 1 ? "first" : "return");
      if (n > 1) t.ok(done.diskBytes <= MIB, `${done.diskBytes} bytes of disk`);
    }
    t.strictSame(await disks.differences("a"), [], "the VM has its data");
  }
  for (const site of ["a", "b"]) {
    const store = await disks.store(site);
    await waitFor(`${site} has tidied`, async () => {
      const { generations } = await store.list();
      return (generations.length <= keep + 5 && generations.every((one) => chainOf(one).length <= 5)) || null;
    });
    const { generations } = await store.list();
    const kept = generations.filter(isRestartable).map(({ manifest }) => manifest.generation);
    t.strictSame(kept, checkpoints, `the checkpoints are at ${site}`);
    t.equal(generations.at(-1)?.manifest.generation, 6, "and so is the newest seed");
  }
  const done = (await rig.site("a").ask("show", { vm: guestName })) as unknown as {
    newestGeneration: number;
    newestSeed: number;
    holders: Record<string, { seed: boolean; lagMs: number }>;
  };
  t.match(done, { newestGeneration: 4, newestSeed: 6, holders: { b: { seed: true } } });

  const compared = await comparedCheckpoint(bed, "a", "b");
  t.equal(compared.done.leg, "return");
  t.ok(compared.done.diskBytes <= MIB);
  t.strictSame(await disks.generationDifferences("b", 7, compared.twins), []);
  const lag = (await rig.site("a").ask("show", { vm: guestName })) as unknown as typeof done;
  t.equal(lag.newestSeed, null, "the checkpoint is newer");
  t.ok((lag.holders["b"]?.lagMs ?? 0) < (done.holders["b"]?.lagMs ?? 0), "what b can restart is newer now");
  const there = await disks.comparedLeg("a", "b");
  t.equal(there.done.leg, "return");
  t.equal(differences(there.source, there.destination), "");
  t.strictSame(there.different, []);
  await rig.untilAlive("b");
  await rig.idle("a");
  t.match(await seed(rig, "b", "a"), { leg: "return", purpose: "seed" }, "the other site makes them now");
  await Promise.all([rig.idle("a"), rig.idle("b")]);
  for (const site of ["a", "b"]) {
    const store = await disks.store(site);
    await waitFor(`old seeds are gone at ${site}`, async () => {
      const { generations } = await store.list();
      return generations.filter((one) => !isRestartable(one)).length <= 3 || null;
    });
  }
  const { findings } = await rig.verifyStores(["a", "b"]);
  t.strictSame(findings, [], "the verifier finds nothing wrong");
});

t.test("no VM is ever restarted from a seed", async (t) => {
  const bed = await haltingRig(t, oneDisk);
  const { disks } = bed;
  const { rig } = disks;
  const recover = (site: string, generation: number | null) =>
    rig.site(site).ask("recover", { vm: guestName, generation, force: true });
  await seed(rig, "a", "b");
  await t.test("where there is nothing else", async (t) => {
    await rig.idle("b");
    await t.rejects(recover("b", null), /only seeds are here/);
    await t.rejects(recover("b", 1), endsAs("usage"));
    await t.rejects(
      recover("b", 1),
      /it is a seed, .* there is none here that can be; 'bfmig sync --checkpoint'/,
    );
    t.equal(await rig.qemuPid("b"), null);
    const { ownership } = (await rig.site("b").ask("show", { vm: guestName })) as unknown as {
      ownership: string;
    };
    t.equal(ownership, "away", "and nothing has changed");
  });
  const { done, twins } = await comparedCheckpoint(bed, "a", "b");
  const model = rig.model.copy();
  await disks.io("a", "disk1", "write -P 99 1M 1M");
  await rig.change("a", "rewrite", 100, 200);
  await seed(rig, "a", "b");
  await rig.idle("b");
  await rig.site("a").kill();
  await rig.killQemu("a");
  const examined = (await rig.site("b").ask("doctor", { vm: guestName })) as unknown as {
    explanation: string[];
  };
  t.match(
    examined.explanation.join("\n"),
    /Generation 3 is a seed.*\n?.*newest generation here that can be restarted is 2/,
  );
  await t.rejects(recover("b", 3), /the newest that can be is generation 2/);
  t.equal((await recover("b", null))["generation"], done.generation);
  await rig.untilAlive("b");
  await disks.restoreTwins(twins);
  t.strictSame(await disks.differences("b"), [], "its disks are those of the checkpoint");
  t.strictSame(model.check(await rig.stoppedDump("b")), [], "and so is its memory");

  await t.test("and what it was lives on: a leg back is right", async (t) => {
    await rig.testbed.restartSite("a");
    await rig.untilAlive("b");
    await waitFor("a knows", async () => {
      const shown = (await rig.site("a").ask("show", { vm: guestName })) as unknown as { ownership: string };
      return shown.ownership === "away" || null;
    });
    await rig.idle("a");
    const { source, destination, different } = await disks.comparedLeg("b", "a");
    t.equal(differences(source, destination), "");
    t.strictSame(different, []);
    await rig.untilAlive("a");
  });
  await Promise.all([rig.idle("a"), rig.idle("b")]);
  const { findings } = await rig.verifyStores(["a", "b"]);
  t.strictSame(findings, []);
});

t.test(
  "who stops the VM meanwhile: QEMU, where it can, for a moment; an operator until it is let go on",
  async (t) => {
    const rig = await Rig.boot(t, { dirtyPagesPerSecond: 0, workingSetBytes: PAGE });
    const stops = await watchStops(rig, "a");
    const monitor = await rig.monitor("a");
    const idle = await seed(rig, "a", "b");
    t.equal(idle.pauseMs > 0, stops.includes("STOP"), `a guest that hardly writes: ${idle.pauseMs} ms`);

    await t.test("QEMU", async (t) => {
      const known = await monitor.execute<{ capability: string }[]>("query-migrate-capabilities");
      const canBeKept = known.some(({ capability }) => capability === "switchover-ack");
      const before = stops.length;
      const done = await seed(rig, "a", "b", {
        onLine: (line) => {
          // With this it stops as soon as it looks at its bitmap.
          if (line.event === "progress")
            monitor.execute("migrate-set-parameters", { "downtime-limit": 60_000 }).catch(() => {});
        },
      });
      t.strictSame(stops.slice(before), canBeKept ? [] : ["STOP", "RESUME"]);
      t.equal(done.pauseMs > 0, !canBeKept);
      await rig.untilAlive("a");
    });
    await t.test("an operator", async (t) => {
      let stopping: Promise<unknown> | null = null;
      const done = await seed(rig, "a", "b", {
        onLine: (line) => {
          if (line.event === "progress") stopping ??= monitor.execute("stop");
        },
      });
      await stopping;
      t.equal(done.pauseMs, 0, "that was not ours");
      t.equal((await monitor.execute<{ running: boolean }>("query-status")).running, false);
      await monitor.execute("cont");
    });
    await rig.change("a", "rewrite", 100, 100);
    const { done, source, destination } = await rig.comparedLeg("a", "b");
    t.equal(done.leg, "return");
    t.equal(differences(source, destination), "");
    t.strictSame(rig.model.check(destination), []);
  },
);

t.test("a standing migration stands on the newest seed, and a leg goes on from it", async (t) => {
  const rig = await Rig.boot(t, { tracking: "standing" });
  await seed(rig, "a", "b");
  t.equal((await untilStanding(rig, "a")).generation, 1);
  await rig.change("a", "rewrite", 2048, 256);
  const { done, source, destination } = await rig.comparedLeg("a", "b");
  t.equal(done.tracking, "standing");
  t.equal(done.leg, "return");
  t.equal(differences(source, destination), "");
  t.strictSame(rig.model.check(destination), []);
});

t.test("sync --every makes one line a seed, until it is interrupted", async (t) => {
  const rig = await Rig.boot(t);
  const socket = join(rig.testbed.socketFolder, "run", "a.sock");
  const options = ["--to", "b", "--every", "1s", "--bandwidth", "100M", "--json", "--control", socket];
  const main = new URL("../../cli/main.js", import.meta.url).pathname;
  const child = spawn(process.execPath, [main, "sync", guestName, ...options]);
  t.teardown(() => child.kill("SIGKILL"));
  const lines: Record<string, unknown>[] = [];
  createInterface({ input: child.stdout }).on("line", (line) => lines.push(JSON.parse(line)));
  const ended = once(child, "exit");
  const syncs = () => lines.filter((line) => line["event"] === "sync");
  await waitFor("two seeds", () => syncs().length >= 2 || null);
  for (const line of syncs()) {
    t.match(line, { outcome: "done", purpose: "seed" });
    t.ok((line["lagMs"] as number) > 0 && (line["lagMs"] as number) <= (line["tookMs"] as number));
  }
  child.kill("SIGINT");
  await ended;
  t.match(lines.at(-1), { event: "done", ended: "interrupted" });
  t.ok((lines.at(-1)?.["seeds"] as number) >= 2);
  await Promise.all([rig.idle("a"), rig.idle("b")]);
  for (const site of ["a", "b"]) {
    const left = (await rig.generationFolders(site)).filter((name) => !/^\d+$/.test(name));
    t.strictSame(left, [], `nothing unfinished is at ${site}`);
  }
  await rig.untilAlive("a");
});

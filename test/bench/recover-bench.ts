/**
 * How long a restart from a retained generation takes, beside a bare QEMU's own start, in one run:
 *
 *     npm run bench:recover [-- [--json] [--mebibytes 512,4096,16384] [--runs 5]]
 *
 * - `bare`: the same QEMU on the same machine with plain, empty memory: spawn → its QMP says that the VM runs.
 * - `complete`, `chain`, `compacted`: the whole of `recover` in an agent, from the request until the VM runs, from a
 *   complete image, from the end of a chain of ten deltas, and from that generation after its compaction.
 *
 * The image is a real guest's with 256 MiB of content, sparse beyond that; a delta changes 2 % of them. After each
 * restart the guest answers on its console. A bare start comes before each restart: the ratio is the median over these
 * pairs, the times are medians. `bestRatio` is that of the shortest times, for a machine that does other things too. The page
 * cache is warm.
 */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { pino } from "pino";
import { Agent } from "../../cli/agent/agent.ts";
import { endQemu, type ManagedVm } from "../../cli/agent/managed-vm.ts";
import { recover } from "../../cli/agent/recover.ts";
import { acceptField } from "../../cli/config/confinement.ts";
import type { SiteConfig } from "../../cli/config/site-config.ts";
import { GuestConsole } from "../../cli/demo/guest-console.ts";
import { findRecord } from "../../cli/qemu/process-record.ts";
import { QmpClient } from "../../cli/qemu/qmp-client.ts";
import { compact } from "../../cli/store/compaction.ts";
import type { StoredGeneration } from "../../cli/store/generation-reader.ts";
import { IntegrityLedger } from "../../cli/store/integrity.ts";
import { readCommandLine, refuse } from "../command-line.ts";
import { machine, median } from "./measure.ts";
import { addDeltas, consoleOf, filledBytes, storeGuest } from "./recover-store.ts";

const qemuBinary = "qemu-system-x86_64";
const deltas = 10;
const changedShare = 0.02;
const pageBytes = 4096;
const retryMs = 1;

/** Medians, each restart beside a bare start. */
interface Restarts {
  readonly bareMs: number;
  readonly recoverMs: number;
  readonly ratio: number;
  readonly bestRatio: number;
}

/** What one size takes. */
interface Result {
  readonly mebibytes: number;
  readonly complete: Restarts;
  readonly chain: Restarts;
  readonly compacted: Restarts;
}

const { values } = readCommandLine({
  options: {
    json: { type: "boolean" },
    mebibytes: { type: "string", default: "512,4096,16384" },
    runs: { type: "string", default: "5" },
  },
});
const sizes = values.mebibytes.split(",").map(Number);
const runs = Number(values.runs);
const isSize = (size: number) => Number.isInteger(size) && size >= 320 && size <= 16384;
if (!sizes.every(isSize)) refuse(`Cannot restart ${values.mebibytes} MiB: give sizes from 320 to 16384`);
if (!Number.isInteger(runs) || runs < 1) refuse(`Cannot do ${values.runs} runs`);
const results: Result[] = [];
for (const size of sizes) {
  const folder = await mkdtemp(join(tmpdir(), "bfmig-bench-"));
  try {
    results.push(await measure(folder, size));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
console.log(values.json ? JSON.stringify({ event: "done", machine, results }) : describe());
process.exit();

async function measure(folder: string, size: number): Promise<Result> {
  const agent = await Agent.open(configIn(folder), pino({ level: "silent" }));
  say(`booting a guest of ${size} MiB and keeping its state`);
  const vm = await storeGuest(agent, folder, size * 2 ** 20);
  say("restarting it from a complete image");
  const complete = await restarts(agent, vm, folder);
  say(`adding ${deltas} deltas`);
  await addDeltas(agent, vm, deltas, Math.round((filledBytes / pageBytes) * changedShare));
  say("restarting it from the end of the chain");
  const chain = await restarts(agent, vm, folder);
  const newest = (await vm.store.list()).generations.at(-1) as StoredGeneration;
  await new IntegrityLedger(vm.store).record(await compact(agent.core, newest));
  say("restarting it from what was compacted");
  const compacted = await restarts(agent, vm, folder);
  agent.stop();
  return { mebibytes: size, complete, chain, compacted };
}

/** Restarts the VM again and again, each time after a bare start of the same command line; the first time does not count. */
async function restarts(agent: Agent, vm: ManagedVm, folder: string): Promise<Restarts> {
  const recovered: number[] = [];
  const bare: number[] = [];
  let args = await recoverOnce(agent, vm, folder, []);
  for (let run = 0; run < runs; run++) {
    bare.push(await bareStart(args, folder));
    args = await recoverOnce(agent, vm, folder, recovered);
  }
  const ratio = median(recovered.map((ms, i) => ms / bare[i]!));
  const bestRatio = Math.min(...recovered) / Math.min(...bare);
  return { bareMs: median(bare), recoverMs: median(recovered), ratio, bestRatio };
}

/** Recovers the VM, adds what it took to `times`, and ends it again. Resolves to its QEMU's arguments. */
async function recoverOnce(
  agent: Agent,
  vm: ManagedVm,
  folder: string,
  times: number[],
): Promise<readonly string[]> {
  const before = performance.now();
  await recover(agent, vm.name, { generation: null, branch: null, force: false });
  times.push(performance.now() - before);
  const guest = await GuestConsole.connect(consoleOf(folder));
  await guest.ready();
  guest.close();
  const args = (await findRecord(vm.runPath))?.args ?? [];
  if (vm.qemu) await endQemu(vm, vm.qemu);
  return args;
}

/** A QEMU of the same machine with memory of its own, without anything of ours around it. */
async function bareStart(args: readonly string[], folder: string): Promise<number> {
  const runPath = join(folder, "bare");
  await mkdir(runPath, { recursive: true, mode: 0o700 });
  const socket = join(runPath, "qmp.sock");
  await rm(socket, { force: true });
  const bare = args.map((argument) =>
    argument
      .replace(/^memory-backend-file,(id=[^,]*,size=\d+),.*$/, "memory-backend-ram,$1")
      .replace(/^unix:.*qmp\.sock,/, `unix:${socket},`)
      .replace(/^\/.*\/qemu\.pid$/, join(runPath, "qemu.pid")),
  );
  bare.splice(bare.indexOf("-incoming"), 2);
  const before = performance.now();
  const child = spawn(qemuBinary, bare, { stdio: "ignore" });
  try {
    const qmp = await connected(socket);
    const running = qmp.waitForEvent("RESUME", { timeoutMs: 10_000 });
    await Promise.all([qmp.execute("cont"), running]);
    return performance.now() - before;
  } finally {
    child.kill("SIGKILL");
    await once(child, "exit");
  }
}

/** QEMU's QMP as soon as it is there. */
async function connected(socket: string): Promise<QmpClient> {
  for (const deadline = performance.now() + 10_000; ; ) {
    try {
      return await QmpClient.connect(socket);
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await sleep(retryMs);
    }
  }
}

function configIn(folder: string): SiteConfig {
  return {
    site: "a",
    store: join(folder, "store"),
    keys: join(folder, "keys"),
    run: join(folder, "run"),
    control: join(folder, "agent.sock"),
    listen: { host: "127.0.0.1", port: 0 },
    tls: null,
    insecure: true,
    token: null,
    peers: {},
    qemu: { binary: qemuBinary, args: [], sandbox: "auto" },
    accept: acceptField.parse(undefined),
    arrivals: {},
    keep: deltas + 2,
  };
}

function describe(): string {
  const lines = [
    machine,
    "milliseconds until the VM runs, a bare QEMU's, and the ratio, that of the shortest",
  ];
  for (const { mebibytes, ...cases } of results) {
    for (const [name, { bareMs, recoverMs, ratio, bestRatio }] of Object.entries(cases)) {
      const times = `${recoverMs.toFixed(0).padStart(5)} ${bareMs.toFixed(0).padStart(5)} ${ratio.toFixed(2).padStart(6)} ${bestRatio.toFixed(2).padStart(6)}`;
      lines.push(`${String(mebibytes).padStart(6)} MiB  ${name.padEnd(10)}${times}`);
    }
  }
  return lines.join("\n");
}

function say(step: string): void {
  process.stderr.write(`- ${step}\n`);
}

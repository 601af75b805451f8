/**
 * The source's data path, from QEMU's socket to the store and the frames for the WAN, all figures from one run:
 *
 *     npm run bench:pipeline [-- [--json] [--mebibytes 1024] [--no-qemu]]
 *
 * - `first`: a stream made by a process of the benchmark, without a base: every page is hashed, compressed and stored.
 * - `return`: the same guest with one page in fifty changed, against that base.
 * - `socket`: the same bytes, read from the socket and dropped: the limit of any reader.
 * - `qemu`: a real QEMU with the demo's guest, a first leg; then one that maps what was stored, as a destination's does, and
 *   return legs with one page in fifty changed: as in the product, and with every page compared.
 *
 * Guest RAM counts with its zero pages, one in six here; as a long-running guest's. The peer takes everything at once.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import type { CommonBase } from "../../cli/leg/common-base.ts";
import type { SourcePump } from "../../cli/leg/source-pump.ts";
import { readDigests, type StoredGeneration } from "../../cli/store/generation-reader.ts";
import { readCommandLine, refuse } from "../command-line.ts";
import { ModelStore } from "../store/model-store.ts";
import { machine } from "./measure.ts";
import { commitPass, cpuSince, meteredPump, type Pass, receiveStream } from "./pipeline-pump.ts";
import { measureQemu } from "./pipeline-qemu.ts";

const zeroEvery = 6;
const dirtyEvery = 42;
const runs = 3;
const gigabitBytes = 125e6;
const vmName = "bench";

/** A pass with its rates over guest RAM, in GB/s. */
interface Rates extends Pass {
  readonly wallGBs: number;
  readonly perCoreGBs: number;
}

const { values } = readCommandLine({
  options: {
    json: { type: "boolean" },
    mebibytes: { type: "string", default: "1024" },
    "no-qemu": { type: "boolean" },
  },
});
const size = Number(values.mebibytes);
if (!Number.isInteger(size) || size < 64 || size > 1024)
  refuse(`Cannot pump ${values.mebibytes} MiB: give 64 to 1024`);
const memoryBytes = size * 2 ** 20;
const folder = mkdtempSync(join(tmpdir(), "bfmig-bench-"));
try {
  const result = await measure();
  console.log(values.json ? JSON.stringify({ event: "done", ...result }) : describe(result));
} finally {
  rmSync(folder, { recursive: true, force: true });
}

async function measure() {
  const regions = [{ name: "pc.ram", kind: "ram", lengthBytes: memoryBytes }] as const;
  const model = await ModelStore.create(join(folder, "made"), vmName, regions);
  say(`a first leg of ${size} MiB`);
  const { pass: first, stored } = await leg(model, { mode: "nothing" }, 0, true);
  const parallel: { readonly threads: number; readonly rates: Rates }[] = [];
  for (const threads of [1, 2]) {
    say(`the same with ${threads === 1 ? "a thread" : `${threads} threads`} beside it`);
    const other = await ModelStore.create(join(folder, `made-${threads}`), vmName, regions);
    const { pass } = await leg(other, { mode: "nothing" }, 0, false, threads);
    parallel.push({ threads, rates: ratesOf(pass, memoryBytes) });
  }
  const base = stored as StoredGeneration;
  const common = { mode: "content", generation: base, digests: await readDigests(base) } as const;
  const returns: Pass[] = [];
  for (let run = 0; run < runs; run++) {
    say("a return leg");
    returns.push((await leg(model, common, dirtyEvery, false)).pass);
  }
  say("the socket alone");
  const socket = await readOnly(dirtyEvery);
  const result = {
    machine,
    memoryBytes,
    first: ratesOf(first, memoryBytes),
    parallel,
    return: fastest(returns),
    socket: ratesOf({ ...returns[0]!, ...socket }, memoryBytes),
  };
  if (values["no-qemu"]) return result;
  say("the same with a real QEMU");
  const qemu = await measureQemu(join(folder, "qemu"), memoryBytes, runs, say);
  const rates = (pass: Pass) => ratesOf(pass, qemu.memoryBytes);
  return {
    ...result,
    qemu: { first: rates(qemu.first), compared: rates(qemu.compared), return: rates(qemu.return) },
  };
}

/** The run with the least CPU. */
function fastest(passes: readonly Pass[]): Rates {
  const [best] = [...passes].sort((a, b) => a.cpuSeconds - b.cpuSeconds);
  return ratesOf(best as Pass, memoryBytes);
}

/** One leg from a made stream. With `isKept` it becomes a generation. */
async function leg(
  model: ModelStore,
  base: CommonBase,
  changedEvery: number,
  isKept: boolean,
  threads = 0,
): Promise<{ pass: Pass; stored: StoredGeneration | null }> {
  const { pump, push, pass } = await meteredPump(model, memoryBytes, base, null, threads);
  await receive(changedEvery, push, threads > 0 ? pump : null);
  const end = await pump.ended;
  const result = pass(performance.now());
  if (isKept) return { pass: result, stored: await commitPass(model, pump, end) };
  pump.release();
  await pump.writer.discard();
  return { pass: result, stored: null };
}

async function readOnly(changedEvery: number): Promise<{ wallSeconds: number; cpuSeconds: number }> {
  let began = 0;
  let ended = 0;
  let cpu = process.cpuUsage();
  await receive(changedEvery, () => {
    if (began === 0) {
      began = performance.now();
      cpu = process.cpuUsage();
    }
    ended = performance.now();
  });
  return {
    wallSeconds: (ended - began) / 1e3,
    cpuSeconds: cpuSince(cpu),
  };
}

/** Lets a child make a stream and takes it. */
async function receive(
  changedEvery: number,
  push: (chunk: Uint8Array) => void,
  pump: SourcePump | null = null,
): Promise<void> {
  const path = join(folder, "stream.sock");
  rmSync(path, { force: true });
  const source = new URL("pipeline-stream.js", import.meta.url).pathname;
  const child: ChildProcess = spawn(
    process.execPath,
    [source, path, String(size), String(zeroEvery), String(changedEvery)],
    { stdio: ["pipe", "pipe", "inherit"] },
  );
  try {
    const taken = await receiveStream(path, push, pump);
    await once(child.stdout as NodeJS.ReadableStream, "data");
    child.stdin?.write("g");
    await taken();
  } finally {
    child.kill("SIGKILL");
  }
}

function ratesOf(pass: Pass, ramBytes: number): Rates {
  return {
    ...pass,
    wallGBs: ramBytes / pass.wallSeconds / 1e9,
    perCoreGBs: ramBytes / pass.cpuSeconds / 1e9,
  };
}

function describe(result: Awaited<ReturnType<typeof measure>>): string {
  const line = (what: string, { wallGBs, perCoreGBs, frameBytes }: Rates) =>
    `${what.padEnd(34)} ${wallGBs.toFixed(2).padStart(6)} GB/s ${perCoreGBs.toFixed(2).padStart(6)} GB/s a core-second` +
    `${(frameBytes / 1e6).toFixed(1).padStart(8)} MB of frames`;
  const lines = [
    result.machine,
    line(`first leg, ${size} MiB, made`, result.first),
    `${"  its frames over 1 Gbit/s".padEnd(34)} ${((result.first.frameBytes / result.first.wallSeconds / gigabitBytes) * 100).toFixed(0)} % of the link`,
    ...result.parallel.map(({ threads, rates }) => line(`  with ${threads} threads more`, rates)),
    line("return leg, one page in 50", result.return),
    line("  the socket alone", { ...result.socket, frameBytes: 0 }),
  ];
  if ("qemu" in result) {
    const { first, compared, return: back } = result.qemu;
    lines.push(line("QEMU, first leg", first), line("QEMU, return leg", back));
    lines.push(line("  every page compared", compared));
    lines.push(
      `${"  ratio of core-seconds".padEnd(34)} ${(back.perCoreGBs / compared.perCoreGBs).toFixed(2).padStart(6)}, ` +
        `${back.unwrittenPages} pages not compared`,
    );
  }
  return lines.join("\n");
}

function say(step: string): void {
  process.stderr.write(`- ${step}\n`);
}

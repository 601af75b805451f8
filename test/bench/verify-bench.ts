/**
 * Benchmark of the offline verifier, all figures from one run:
 *
 *     npm run bench:verify [-- [--json] [--mebibytes 1024]]
 *
 * A generation of so many MiB, half of it pages of the node binary, half noise, with no page of zeroes: every byte is
 * hashed. It is read once before, so that the disk does not count. The kernel's own rate is the limit.
 */

import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { text } from "node:stream/consumers";
import { beginGeneration } from "../../cli/store/generation-writer.ts";
import { type Core, loadCore } from "../../src/core.ts";
import { encodeDeviceFrames } from "../../src/delta/device-frames.ts";
import { frameLimits, pageBytes, RecordKind } from "../../src/delta/vocabulary.ts";
import { PageDigests } from "../../src/generation/digest-tree.ts";
import { readCommandLine, refuse } from "../command-line.ts";
import { ModelStore, noiseFrom } from "../store/model-store.ts";
import { machine, mebibytes, median } from "./measure.ts";

const mebibyte = 2 ** 20;
const crossCheckMiB = 16;
const verifyRuns = 3;
const startRuns = 10;
const program = "dist/cli/main.js";
const binary = readFileSync(process.execPath);
/**
 * Tells what the process used, when it ends, on descriptor 3. Not maxRSS: Linux begins it with what the process had
 * before it became node, which is what this one has.
 */
const tellUsage = `data:text/javascript,import { readFileSync, writeSync } from "node:fs";
  process.on("exit", () => {
    const { userCPUTime, systemCPUTime } = process.resourceUsage();
    const [, peakKiB] = readFileSync("/proc/self/status", "utf8").match(/^VmHWM:\\s+(\\d+) kB/m);
    writeSync(3, JSON.stringify({ cpuMicroseconds: userCPUTime + systemCPUTime, peakKiB: Number(peakKiB) }));
  });`;

/** What a verification took. */
interface Run {
  readonly wallSeconds: number;
  readonly cpuSeconds: number;
  readonly peakBytes: number;
}

const { values } = readCommandLine({
  options: { json: { type: "boolean" }, mebibytes: { type: "string", default: "1024" } },
});
const size = Number(values.mebibytes);
if (!Number.isInteger(size) || size < 16)
  refuse(`Cannot verify ${values.mebibytes} MiB: 16 or more are needed`);
const folder = mkdtempSync(join(tmpdir(), "bfmig-bench-"));
try {
  const result = await measure(folder);
  console.log(values.json ? JSON.stringify({ event: "done", ...result }) : describe(result));
} finally {
  rmSync(folder, { recursive: true, force: true });
}

async function measure(folder: string) {
  const core = await loadCore({ initialBytes: 32 * mebibyte });
  const kernelGBs = kernelRate(core);
  say(`writing a generation of ${size} MiB`);
  const large = await writeLarge(join(folder, "large"), size);
  const jobs: Record<string, Run> = {};
  await verify(large, []);
  for (const count of ["1", "2"]) {
    say(`verifying it with --jobs ${count}`);
    jobs[count] = await verify(large, ["--jobs", count], verifyRuns);
  }
  say(`cross-checking a chain of ${crossCheckMiB} MiB`);
  const small = await writeChain(join(folder, "small"), crossCheckMiB);
  const plain = await verify(small, ["--jobs", "1"]);
  const crossCheck = await verify(small, ["--jobs", "1", "--cross-check"]);
  return {
    machine,
    bytes: size * mebibyte,
    kernelGBs,
    jobs,
    crossCheck: { plain, crossCheck },
    start: startUp(),
  };
}

/** GB/s of the kernel over a window of 1 MiB, the best of several runs. */
function kernelRate(core: Core): number {
  const pages = mebibyte / pageBytes;
  const [window, key, out] = [core.allocate(mebibyte), core.allocate(32), core.allocate(pages * 16)];
  fill(core, window, pages, 1);
  let best = 0;
  for (let run = 0; run < 10; run++) {
    const before = performance.now();
    for (let i = 0; i < 64; i++) core.raw.pageDigests(window, pages, key, out);
    best = Math.max(best, (64 * mebibyte) / (performance.now() - before) / 1e6);
  }
  for (const pointer of [window, key, out]) core.release(pointer);
  return best;
}

/** Pages of the node binary and of noise by turns, all of them different. */
function fill(core: Core, target: number, pages: number, seed: number): void {
  const words = new Uint32Array(core.bytes().buffer, target, (pages * pageBytes) / 4);
  const bytes = core.bytes();
  let state = (seed * 2654435761) >>> 0 || 1;
  for (let page = 0; page < pages; page++) {
    const at = target + page * pageBytes;
    if (page % 2 === 0) {
      const from = ((seed * pages + page) * pageBytes) % (binary.length - pageBytes);
      bytes.set(binary.subarray(from, from + pageBytes), at);
      words[(page * pageBytes) / 4] = seed * pages + page + 1;
      continue;
    }
    for (let word = (page * pageBytes) / 4; word < ((page + 1) * pageBytes) / 4; word++) {
      state ^= state << 13;
      state ^= state >>> 17;
      words[word] = state ^= state << 5;
    }
  }
}

/** A store with one complete generation. Returns its path. */
async function writeLarge(folder: string, sizeMiB: number): Promise<string> {
  const regions = [{ name: "pc.ram", kind: "ram", lengthBytes: sizeMiB * mebibyte }] as const;
  const { core, geometry, key, store, storePath, vm } = await ModelStore.create(folder, "web1", regions);
  const writer = beginGeneration(
    core,
    store.generationsPath,
    { vm, generation: 1, legId: "1" },
    geometry,
    null,
  );
  const digests = new Uint8Array(geometry.totalPages * 16);
  const count = mebibyte / pageBytes;
  const window = core.allocate(mebibyte + count * 16 + 32);
  const [out, keyAt] = [window + mebibyte, window + mebibyte + count * 16];
  core.bytes().set(key, keyAt);
  const kinds = new Uint8Array(frameLimits.records).fill(RecordKind.raw);
  for (let first = 0, sequence = 2; first < geometry.totalPages; first += count, sequence++) {
    fill(core, window, count, sequence);
    core.raw.pageDigests(window, count, keyAt, out);
    digests.set(core.bytes().subarray(out, out + count * 16), first * 16);
    const pages = Uint32Array.from({ length: count }, (_, i) => first + i);
    writer.apply({ region: 0, sequence, count, pages, kinds, contents: window }, new Uint8Array(0));
  }
  const tree = new PageDigests(core, key, geometry, digests);
  const state = new TextEncoder().encode("device");
  const digest = core.blake3(state, key);
  const device = { frames: encodeDeviceFrames(core, state, 2), bytes: state.length, digest };
  const about = { vm, generation: 1, epoch: 1, from: "a", to: "b", createdAt: "2024-01-01T00:00:00.000Z" };
  const start = { ...about, machine: "pc-i440fx-7.2", accelerator: "tcg" as const };
  const manifest = await writer.finish(start, { digests, device, disks: [], root: tree.root(digest) });
  await writer.commit(manifest);
  return storePath;
}

/** A store with a complete generation and a delta that changes a quarter of its pages. */
async function writeChain(folder: string, sizeMiB: number): Promise<string> {
  const regions = [{ name: "pc.ram", kind: "ram", lengthBytes: sizeMiB * mebibyte }] as const;
  const model = await ModelStore.create(folder, "web1", regions);
  const memory = new Uint8Array(model.memoryBytes);
  for (let at = 0; at < memory.length; at += binary.length)
    memory.set(binary.subarray(0, memory.length - at), at);
  const base = await model.add(memory);
  const noise = noiseFrom(1);
  for (let at = 0; at < memory.length; at += 4 * pageBytes) {
    const words = at % (8 * pageBytes) === 0 ? 4 : 512;
    for (let i = 0; i < words; i++) memory[at + i * 8] = noise();
  }
  await model.add(memory, base);
  return model.storePath;
}

/** Verifies a store in a process of its own; the run with the middle wall time. Throws Error unless all is right. */
async function verify(store: string, options: readonly string[], runs = 1): Promise<Run> {
  const found: Run[] = [];
  for (let run = 0; run < runs; run++) found.push(await verifyOnce(store, options));
  const middle = median(found.map(({ wallSeconds }) => wallSeconds));
  return found.find(({ wallSeconds }) => wallSeconds === middle) as Run;
}

async function verifyOnce(store: string, options: readonly string[]): Promise<Run> {
  const before = performance.now();
  const child = spawn(process.execPath, ["--import", tellUsage, program, "verify", store, ...options], {
    stdio: ["ignore", "ignore", "inherit", "pipe"],
  });
  const usageText = text(child.stdio[3] as NodeJS.ReadableStream);
  const [code] = await once(child, "exit");
  const wallSeconds = (performance.now() - before) / 1000;
  if (code !== 0) throw new Error(`Cannot measure: bfmig verify ended with ${code}`);
  const { cpuMicroseconds, peakKiB } = JSON.parse(await usageText) as Record<string, number>;
  return { wallSeconds, cpuSeconds: cpuMicroseconds / 1e6, peakBytes: peakKiB * 1024 };
}

/** Milliseconds from start to end of `bfmig verify --help`, and of a node that does nothing, by turns. */
function startUp() {
  say("starting it");
  const timeOf = (args: readonly string[]) => {
    const before = performance.now();
    spawnSync(process.execPath, args, { stdio: "ignore" });
    return performance.now() - before;
  };
  const help: number[] = [];
  const bare: number[] = [];
  for (let run = 0; run < startRuns; run++) {
    bare.push(timeOf(["-e", "0"]));
    help.push(timeOf([program, "verify", "--help"]));
  }
  const [helpMs, bareMs] = [median(help), median(bare)];
  return { helpMs, bareMs, moreMs: helpMs - bareMs, ratio: helpMs / bareMs };
}

function describe({
  bytes,
  kernelGBs,
  jobs,
  crossCheck,
  start,
}: Awaited<ReturnType<typeof measure>>): string {
  const lines = [`${machine}`, `BLAKE3 kernel alone: ${kernelGBs.toFixed(2)} GB/s`];
  for (const [count, { wallSeconds, cpuSeconds, peakBytes }] of Object.entries(jobs)) {
    const rate = (seconds: number) => `${(bytes / seconds / 1e9).toFixed(2)} GB/s`;
    lines.push(
      `verify, ${mebibytes(bytes)}, --jobs ${count}: ${rate(wallSeconds)}, ` +
        `${rate(cpuSeconds)} for each core, ${mebibytes(peakBytes)} at most`,
    );
  }
  const times = crossCheck.crossCheck.wallSeconds / crossCheck.plain.wallSeconds;
  lines.push(
    `verify, a chain of ${crossCheckMiB} MiB: ${crossCheck.plain.wallSeconds.toFixed(2)} s, ` +
      `with --cross-check ${times.toFixed(1)} times that`,
    `verify --help: ${Math.round(start.moreMs)} ms more than a bare node's ${Math.round(start.bareMs)} ms, ` +
      `${start.ratio.toFixed(1)} times that`,
  );
  return lines.join("\n");
}

function say(step: string): void {
  process.stderr.write(`- ${step}\n`);
}

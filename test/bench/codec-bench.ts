/**
 * Bytes and speed of the codecs of frames, side by side in one run: `npm run bench:codec -- [--mebibytes N] [--json]`.
 * Speeds are those of CPU time; the longest frame is by the clock.
 *
 *     pages    whole pages, as a first leg sends them: this process's memory, and the program's file as a cache has it
 *     changes  pages of this process before and after some work, as a return leg sends them
 *     device   a guest's device state at two times, by itself and against the earlier one
 */

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import Table from "cli-table3";
import { loadZstd } from "../../cli/zstd.ts";
import { type Core, loadCore } from "../../src/core.ts";
import { encodeDeviceFrames } from "../../src/delta/device-frames.ts";
import { PageDecoder } from "../../src/delta/page-decoder.ts";
import { PageEncoder } from "../../src/delta/page-encoder.ts";
import { pageBytes } from "../../src/delta/vocabulary.ts";
import { QemuStreamDecoder } from "../../src/qemu-stream/index.ts";
import { readCommandLine, refuse } from "../command-line.ts";
import { readOwnMemoryTwice } from "../core/real-memory.ts";
import { captureStream, Qemu } from "../qemu-stream/qemu.ts";
import { machine } from "./measure.ts";

/** Milliseconds of CPU that this process has had: a machine that is busy with other things does not change them. */
const cpuMs = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};

/** As encoders of legs do. */
const sealAtBytes = 128 * 1024;
const runs = 3;
const megabyte = 1e6;

/** Pages to send, and what the other side has of them. */
interface Workload {
  readonly name: string;
  readonly pages: Uint8Array;
  /** Null: nothing. */
  readonly base: Uint8Array | null;
}

/** What a codec made of a workload. */
interface Figures {
  readonly codec: string;
  readonly bytes: number;
  /** Bytes of frames for each byte of the pages. */
  readonly share: number;
  readonly encodeMBps: number;
  readonly decodeMBps: number;
  readonly longestFrameMs: number;
  readonly bytesOfLz4: number;
  readonly speedOfLz4: number;
}

const { values: options } = readCommandLine({
  options: { mebibytes: { type: "string", default: "32" }, json: { type: "boolean", default: false } },
});
const totalPages = Math.floor((Number(options.mebibytes) * 2 ** 20) / pageBytes);
if (!(totalPages >= 64)) refuse(`Cannot measure ${options.mebibytes} MiB: write a number from 1`);

const zstd = await loadZstd();
const results = [wholePages(totalPages), changedPages(totalPages)].map(({ name, pages, base }) => ({
  workload: name,
  pages: pages.length / pageBytes,
  codecs: [] as Figures[],
  input: { name, pages, base },
}));
for (const { codecs, input } of results) {
  for (const level of [0, 1, 3, 6, 9]) codecs.push(await measure(input, level, codecs[0]));
}
const device = await deviceStates();

if (options.json) {
  const workloads = results.map(({ workload, pages, codecs }) => ({ workload, pages, codecs }));
  console.log(JSON.stringify({ machine, workloads, device }));
} else print();

/** Whole pages that are not zero: half of them memory, half of them a file. */
function wholePages(count: number): Workload {
  const file = readFileSync(process.execPath);
  const memory = readOwnMemoryTwice(8 * count).after;
  const chosen = [...nonZero(memory, count >> 1), ...nonZero(file, count >> 1)];
  return { name: "pages", pages: joined(chosen), base: null };
}

/** Pages that differ between two readings. */
function changedPages(count: number): Workload {
  const { before, after } = readOwnMemoryTwice(8 * count);
  const changed: number[] = [];
  for (let at = 0; at < after.length && changed.length < count; at += pageBytes) {
    if (Buffer.compare(pageAt(before, at), pageAt(after, at)) !== 0) changed.push(at);
  }
  const pages = joined(changed.map((at) => pageAt(after, at)));
  return { name: "changes", pages, base: joined(changed.map((at) => pageAt(before, at))) };
}

function pageAt(bytes: Uint8Array, at: number): Uint8Array {
  return bytes.subarray(at, at + pageBytes);
}

function nonZero(bytes: Uint8Array, count: number): Uint8Array[] {
  const found: Uint8Array[] = [];
  for (let at = 0; at + pageBytes <= bytes.length && found.length < count; at += pageBytes) {
    const page = pageAt(bytes, at);
    if (page.some((byte) => byte !== 0)) found.push(page);
  }
  return found;
}

function joined(pages: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(pages.length * pageBytes);
  for (const [i, page] of pages.entries()) bytes.set(page, i * pageBytes);
  return bytes;
}

/** The best of some runs; `level` 0 is the core's LZ4. */
async function measure(workload: Workload, level: number, lz4: Figures | undefined): Promise<Figures> {
  const { pages } = workload;
  const core = await loadCore({ initialBytes: 32 * 2 ** 20 + 3 * pages.length, zstd });
  const at = place(core, pages);
  const base = workload.base && place(core, workload.base);
  const encoder = new PageEncoder(core, () => (level === 0 ? null : (plain) => zstd.compress(plain, level)));
  const count = pages.length / pageBytes;
  let frames: Uint8Array[] = [];
  let encodeMs = Number.POSITIVE_INFINITY;
  let decodeMs = Number.POSITIVE_INFINITY;
  let longestFrameMs = Number.POSITIVE_INFINITY;
  for (let run = 0; run < runs; run++) {
    frames = [];
    let longest = 0;
    const start = cpuMs();
    for (let i = 0; i < count; i++) {
      encoder.content(i, at + i * pageBytes, base === null ? encoder.zeroPointer : base + i * pageBytes);
      if (encoder.full || encoder.pendingBytes >= sealAtBytes || i + 1 === count) {
        const before = performance.now();
        frames.push(encoder.seal(0, frames.length + 1) as Uint8Array);
        longest = Math.max(longest, performance.now() - before);
      }
    }
    encodeMs = Math.min(encodeMs, cpuMs() - start);
    longestFrameMs = Math.min(longestFrameMs, longest);
    decodeMs = Math.min(decodeMs, decodeAll(core, frames, workload, at, base));
  }
  const bytes = frames.reduce((sum, { length }) => sum + length, 0);
  const encodeMBps = pages.length / encodeMs / (megabyte / 1000);
  return {
    codec: level === 0 ? "lz4" : `zstd ${level}`,
    bytes,
    share: bytes / pages.length,
    encodeMBps,
    decodeMBps: pages.length / decodeMs / (megabyte / 1000),
    longestFrameMs,
    bytesOfLz4: lz4 ? bytes / lz4.bytes : 1,
    speedOfLz4: lz4 ? encodeMBps / lz4.encodeMBps : 1,
  };
}

function place(core: Core, bytes: Uint8Array): number {
  const at = core.allocate(bytes.length);
  core.bytes().set(bytes, at);
  return at;
}

/** Decodes all frames and compares them with the pages. Returns the time that decoding took. */
function decodeAll(
  core: Core,
  frames: readonly Uint8Array[],
  { pages }: Workload,
  at: number,
  base: number | null,
): number {
  const decoder = new PageDecoder(core, [{ firstPage: 0, pages: pages.length / pageBytes }], {
    readBasePage: (page, target) => {
      if (base === null) core.bytes().fill(0, target, target + pageBytes);
      else core.raw.copy(target, base + page * pageBytes, pageBytes);
    },
  });
  const start = cpuMs();
  for (const frame of frames) decoder.decode(frame);
  const spentMs = cpuMs() - start;
  for (const frame of frames) {
    const decoded = decoder.decode(frame);
    for (let i = 0; i < decoded.count; i++) {
      const isSame = core.raw.pagesEqual(decoded.contents + i * pageBytes, at + decoded.pages[i] * pageBytes);
      if (isSame !== 1) throw new Error(`page ${decoded.pages[i]} came back as another one`);
    }
  }
  decoder.release();
  return spentMs;
}

/** Frames of a real guest's device state, by themselves and against that of two seconds before. */
async function deviceStates() {
  const folder = mkdtempSync(join(tmpdir(), "bfmig-codec-bench-"));
  const qemu = await Qemu.start(folder, "guest", "pc", ["-device", "virtio-rng-pci"]);
  try {
    const earlier = await deviceState(qemu, join(folder, "first.sock"));
    await qemu.execute("cont");
    await sleep(2000);
    const later = await deviceState(qemu, join(folder, "second.sock"));
    const core = await loadCore();
    const sum = (frames: readonly Uint8Array[]) => frames.reduce((total, { length }) => total + length, 0);
    const frameBytes = sum(encodeDeviceFrames(core, later, 1));
    const basedBytes = sum(encodeDeviceFrames(core, later, 1, earlier));
    if (earlier.length === 0 || later.length === 0) throw new Error("QEMU gave no device state");
    return { stateBytes: later.length, frameBytes, basedBytes, ratio: basedBytes / frameBytes };
  } finally {
    await qemu.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function deviceState(qemu: Qemu, socketPath: string): Promise<Uint8Array> {
  let state = new Uint8Array(0);
  const decoder = new QemuStreamDecoder({
    deviceState: (tail) => {
      state = tail.slice();
    },
  });
  decoder.push(await captureStream(qemu, socketPath, []));
  return state;
}

function print(): void {
  console.log(machine);
  for (const { workload, pages, codecs } of results) {
    const head = [
      "codec",
      "bytes / plain",
      "bytes / lz4",
      "encode MB/s",
      "speed / lz4",
      "longest frame",
      "decode MB/s",
    ];
    const table = new Table({ head, style: { head: [], border: [] } });
    for (const one of codecs) {
      table.push([
        one.codec,
        one.share.toFixed(3),
        one.bytesOfLz4.toFixed(3),
        one.encodeMBps.toFixed(0),
        one.speedOfLz4.toFixed(2),
        `${one.longestFrameMs.toFixed(1)} ms`,
        one.decodeMBps.toFixed(0),
      ]);
    }
    console.log(`\n${workload}: ${pages} pages\n${table.toString()}`);
  }
  const { stateBytes, frameBytes, basedBytes, ratio } = device;
  console.log(
    `\ndevice state of ${stateBytes} bytes: ${frameBytes} in frames by itself, ${basedBytes} against the earlier one: ${ratio.toFixed(3)}`,
  );
}

/**
 * The memory of real processes at two times: children work, are read, work on, and are read again. A child that
 * cannot be started is left out, so that what is measured is the same kind of memory on any machine with Node.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync, readFileSync, readSync } from "node:fs";
import process from "node:process";
import { createInterface } from "node:readline";

const pageBytes = 4096;
/** Dumps are whole blocks of so many pages. */
const blockPages = 16;
/** Of the pages that are zero at both times one in so many is taken: most were never used. */
const zeroShare = 10;
/** Of one mapping at most so much, so that several kinds of memory are in the dump. */
const mappingBytesMax = 24 << 20;

/** Pages at the same addresses of the same process, before and after it worked. Both of equal length, whole blocks of 64 KiB. */
export type MemoryPair = {
  readonly before: Uint8Array;
  readonly after: Uint8Array;
  /** The programs whose memory it is. */
  readonly programs: readonly string[];
};

type Workload = { name: string; command: string; arguments: readonly string[] };
type Range = { start: number; bytes: number };

/** Objects, strings, maps and numbers; the second step changes one record in fifty and adds a few. */
const inNode = `
const records = new Map();
const add = (i) => records.set("user:" + i, { id: i, name: "name " + (i * 7919) % 10007, score: Math.sqrt(i), tags: ["t" + i % 13, "u" + i % 7] });
for (let i = 0; i < 120000; i++) add(i);
const numbers = Float64Array.from({ length: 1 << 20 }, (_, i) => Math.sin(i / 1000));
const text = Buffer.from(Array.from({ length: 60000 }, (_, i) => JSON.stringify({ at: i, level: i % 5, message: "request " + i + " took " + (i * 31) % 977 + " us" })).join("\\n"));
process.stdin.on("data", () => {
  for (let i = 0; i < 120000; i += 50) records.get("user:" + i).score += 1;
  for (let i = 120000; i < 123000; i++) add(i);
  for (let i = 0; i < numbers.length; i += 4099) numbers[i] = i;
  text.copy(text, 1 << 20, 0, 1 << 18);
  console.log("done");
});
console.log("done");
`;

const inPython = `
import sys
records = {i: {"id": i, "name": "name %d" % (i * 7919 % 10007), "score": i ** 0.5} for i in range(60000)}
rows = [("k%d" % i, i * 31 % 977, float(i)) for i in range(60000)]
image = bytearray(b"".join(b"%08d;%d\\n" % (i, i * i) for i in range(200000)))
print("done", flush=True)
sys.stdin.readline()
for i in range(0, 60000, 40): records[i]["score"] += 1.0
for i in range(0, 60000, 90): rows[i] = ("k%d" % i, -i, 0.0)
for i in range(0, len(image), 9973): image[i] = 35
print("done", flush=True)
sys.stdin.readline()
`;

const workloads: readonly Workload[] = [
  { name: "node", command: process.execPath, arguments: ["-e", inNode] },
  { name: "python3", command: "python3", arguments: ["-c", inPython] },
];

/** Up to `bytesMax` bytes of children's writable memory at two times. Linux only. Throws Error if there is less than 64 KiB. */
export async function readMemoryTwice(bytesMax: number): Promise<MemoryPair> {
  const pair = { before: new Uint8Array(bytesMax), after: new Uint8Array(bytesMax) };
  const programs: string[] = [];
  let filled = 0;
  for (const [i, workload] of workloads.entries()) {
    const end = Math.floor((bytesMax * (i + 1)) / workloads.length);
    const taken = await takeMemory(workload, pair, filled, end);
    if (taken > filled) programs.push(workload.name);
    filled = taken;
  }
  filled -= filled % (blockPages * pageBytes);
  if (filled === 0) throw new Error("Cannot read the memory of a child: /proc/PID/mem gives nothing");
  return { before: pair.before.subarray(0, filled), after: pair.after.subarray(0, filled), programs };
}

/** Fills both dumps from `filled` up to at most `end`; returns where they end now. */
async function takeMemory(
  workload: Workload,
  pair: { before: Uint8Array; after: Uint8Array },
  filled: number,
  end: number,
): Promise<number> {
  const child = spawn(workload.command, workload.arguments, { stdio: ["pipe", "pipe", "ignore"] });
  try {
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const started = await Promise.race([
      lines.next().then(({ done }) => !done),
      once(child, "error").then(() => false),
    ]);
    if (!started) return filled;
    const ranges = writableRanges(child.pid!);
    const first = readRanges(child.pid!, ranges);
    child.stdin.write("go\n");
    await lines.next();
    const second = readRanges(child.pid!, ranges);
    return keepPages(pair, filled, end, first, second);
  } finally {
    await endChild(child);
  }
}

async function endChild(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null) return;
  const exited = once(child, "exit");
  child.kill("SIGKILL");
  await exited;
}

/** The anonymous writable mappings, heap included. Addresses of user space are below 2^47: numbers hold them. */
function writableRanges(pid: number): Range[] {
  return readFileSync(`/proc/${pid}/maps`, "utf8")
    .split("\n")
    .flatMap((line) => {
      const match = /^([0-9a-f]+)-([0-9a-f]+) rw-p \S+ 00:00 0\s*(\[heap\])?$/.exec(line);
      if (match === null) return [];
      const start = Number.parseInt(match[1]!, 16);
      return [{ start, bytes: Math.min(Number.parseInt(match[2]!, 16) - start, mappingBytesMax) }];
    });
}

/** Ranges one after the other. What is no longer mapped reads as zero. */
function readRanges(pid: number, ranges: readonly Range[]): Uint8Array {
  const memory = new Uint8Array(ranges.reduce((sum, { bytes }) => sum + bytes, 0));
  const file = openSync(`/proc/${pid}/mem`, "r");
  let at = 0;
  try {
    for (const { start, bytes } of ranges) {
      try {
        readSync(file, memory, at, bytes, start);
      } catch {}
      at += bytes;
    }
  } finally {
    closeSync(file);
  }
  return memory;
}

/** Takes the pages that are not zero at both times, and a share of the others. Returns where the dumps end now. */
function keepPages(
  pair: { before: Uint8Array; after: Uint8Array },
  filled: number,
  end: number,
  first: Uint8Array,
  second: Uint8Array,
): number {
  let at = filled;
  let empties = 0;
  for (let from = 0; from < first.length && at + pageBytes <= end; from += pageBytes) {
    const pages = [first, second].map((memory) => memory.subarray(from, from + pageBytes));
    const empty = pages.every((page) => page.every((byte) => byte === 0));
    if (empty && ++empties % zeroShare !== 0) continue;
    pair.before.set(pages[0]!, at);
    pair.after.set(pages[1]!, at);
    at += pageBytes;
  }
  return at;
}

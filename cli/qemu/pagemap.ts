/**
 * Which pages of a file that another process maps privately that process has never written to. Linux keeps that for
 * every page, in /proc/PID/pagemap (Documentation/admin-guide/mm/pagemap.rst), 8 bytes a page in the machine's order:
 *
 *     bit 63   present       62   swapped       61   a page of a file, or of shared memory
 *
 *     0 0 -    not there: it will be read from the file      unwritten
 *     1 0 1    the file's own page                           unwritten
 *     1 0 0    a copy of the process's own                   written
 *     - 1 -    a copy that is swapped out, or on its way     taken for written
 *
 * The first write to a page of a private mapping gives the process a copy, before anything is written; whoever writes: the
 * process, its threads, KVM, a device with the page pinned. The copy never becomes the file's page again, unless the process
 * itself throws it away (MADV_DONTNEED) or the file is cut short. So what was read through the mapping *before* a look that
 * says `unwritten` is what the file has.
 *
 * What is not known for sure is taken for written: pages that are merged (KSM) or the kernel's zero page show as copies,
 * file pages that are being moved, or marked by userfaultfd, as swapped; a huge page of a file shows as a copy in kernels
 * before 6.11. Bits 0 to 54, which only root may see, are not used.
 */

import { closeSync, openSync, readSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { type FileIdentity, isSameFile } from "../file-identity.ts";
import { processStartTime } from "./process-identity.ts";

const pageBytes = 4096;
const entryBytes = 8;
/** Entries read at once: the kernel itself takes that many at a time. */
const entriesPerRead = 512;
/** The bits in an entry's last byte. */
const presentBit = 0x80;
const swappedBit = 0x40;
const fileBit = 0x20;

/** A process, by what no later one shares with it. */
export interface ProcessIdentity {
  readonly pid: number;
  /** See `processStartTime`. */
  readonly startTime: string;
}

/** A range of a process's addresses, as a line of /proc/PID/maps has it. */
interface MappedRange {
  readonly start: number;
  readonly end: number;
  readonly access: string;
  readonly offset: number;
  readonly file: FileIdentity;
  readonly name: string;
}

/** A file that a process maps privately. Create it with `openPrivateMapping`. */
export class PrivateMapping {
  readonly file: FileIdentity;
  readonly pages: number;
  private readonly pagemap: number;
  private readonly firstEntry: number;
  private readonly entries = new Uint8Array(entriesPerRead * entryBytes);
  private isOpen = true;

  /** Takes over an open /proc/PID/pagemap. */
  constructor(pagemap: number, range: MappedRange) {
    this.pagemap = pagemap;
    this.file = range.file;
    this.pages = (range.end - range.start) / pageBytes;
    this.firstEntry = range.start / pageBytes;
  }

  /**
   * Looks at `count` pages from `first` on: `unwritten[i]` becomes 1 if page `first + i` is the file's, else 0. All become 0 if
   * the process is gone. Throws RangeError if the pages are not all in the mapping, or do not fit.
   */
  look(first: number, count: number, unwritten: Uint8Array): void {
    if (first < 0 || count < 0 || first + count > this.pages || count > unwritten.length) {
      throw new RangeError(`Cannot look at ${count} pages from page ${first} on: there are ${this.pages}`);
    }
    unwritten.fill(0, 0, count);
    for (let at = 0; at < count; ) {
      const wanted = Math.min(entriesPerRead, count - at);
      const got = this.readEntries(first + at, wanted);
      if (got === 0) return;
      for (let i = 0; i < got; i++) {
        const bits = this.entries[i * entryBytes + entryBytes - 1];
        if (isUnwritten(bits)) unwritten[at + i] = 1;
      }
      at += got;
    }
  }

  close(): void {
    if (this.isOpen) closeSync(this.pagemap);
    this.isOpen = false;
  }

  /** Entries that could be read; 0 if the process is gone. */
  private readEntries(first: number, count: number): number {
    if (!this.isOpen) return 0;
    try {
      const position = (this.firstEntry + first) * entryBytes;
      return Math.floor(readSync(this.pagemap, this.entries, 0, count * entryBytes, position) / entryBytes);
    } catch {
      return 0;
    }
  }
}

/**
 * Opens the one private mapping that a process has of a file's first `lengthBytes`. Null where nothing can be known for sure:
 * not on Linux with pages of 4 KiB, /proc/PID/pagemap may not be read, another process has the pid by now, the file is
 * not mapped so, or more than once.
 */
export async function openPrivateMapping(
  { pid, startTime }: ProcessIdentity,
  file: FileIdentity,
  lengthBytes: number,
): Promise<PrivateMapping | null> {
  // Other processors have pages of other sizes.
  if (process.platform !== "linux" || process.arch !== "x64") return null;
  let pagemap: number;
  try {
    pagemap = openSync(`/proc/${pid}/pagemap`, "r");
  } catch {
    return null;
  }
  let mapping: PrivateMapping | null = null;
  try {
    const maps = (await readFile(`/proc/${pid}/maps`, "latin1")).split("\n").map(decodeRange);
    const range = soleRange(maps, file, lengthBytes);
    const stack = maps.find((one) => one?.name === "[stack]");
    // What was opened before is that process's if it still is there. The file stays bound to it, whoever gets the pid.
    if (range && stack && isWritten(pagemap, stack) && (await processStartTime(pid)) === startTime) {
      mapping = new PrivateMapping(pagemap, range);
    }
  } catch {
    // The process ended meanwhile.
  }
  if (mapping === null) closeSync(pagemap);
  return mapping;
}

/** The range that maps the file's first `lengthBytes` privately, if it is the only one of the file. */
function soleRange(
  maps: readonly (MappedRange | null)[],
  file: FileIdentity,
  lengthBytes: number,
): MappedRange | null {
  const [range, ...others] = maps.filter((one) => one !== null && isSameFile(one.file, file));
  if (!range || others.length > 0 || range.offset !== 0 || range.access !== "rw-p") return null;
  return range.end - range.start === lengthBytes ? range : null;
}

/** True if the pagemap says of the stack's last page, which every process has written to, what is so: the file can be believed. */
function isWritten(pagemap: number, stack: MappedRange): boolean {
  const entry = new Uint8Array(entryBytes);
  const got = readSync(pagemap, entry, 0, entryBytes, (stack.end / pageBytes - 1) * entryBytes);
  return got === entryBytes && !isUnwritten(entry[entryBytes - 1]);
}

function isUnwritten(bits: number): boolean {
  if ((bits & swappedBit) !== 0) return false;
  return (bits & presentBit) === 0 || (bits & fileBit) !== 0;
}

/**
 * A line of /proc/PID/maps (proc_pid_maps(5)), all numbers but the inode hexadecimal; null if it is none:
 *
 *     7fb86bfff000-7fb86ffff000 rw-p 00000000 fe:00 2155702       /srv/ram.img
 */
function decodeRange(line: string): MappedRange | null {
  const fields =
    /^([0-9a-f]+)-([0-9a-f]+) (\S{4}) ([0-9a-f]+) ([0-9a-f]+):([0-9a-f]+) (\d+)(?: +(.*))?$/.exec(line);
  if (fields === null) return null;
  const [, start, end, access, offset, major, minor, inode, name = ""] = fields;
  return {
    start: Number.parseInt(start, 16),
    end: Number.parseInt(end, 16),
    access,
    offset: Number.parseInt(offset, 16),
    file: { device: deviceNumber(BigInt(`0x${major}`), BigInt(`0x${minor}`)), inode: BigInt(inode) },
    name,
  };
}

/** As `stat` has it: glibc's makedev. */
function deviceNumber(major: bigint, minor: bigint): bigint {
  return ((major & ~0xfffn) << 32n) | ((major & 0xfffn) << 8n) | ((minor & ~0xffn) << 12n) | (minor & 0xffn);
}

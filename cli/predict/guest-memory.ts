/**
 * A guest's memory, seen from beside its QEMU while it runs: what the kernel knows of each page, and contents. Nothing is
 * stopped or traced for it.
 *
 *     /proc/PID/pagemap, 64 bits a page (Linux, Documentation/admin-guide/mm/pagemap.rst)
 *     63 present │ 62 swapped │ 61 page of a file │ … │ 54–0 frame number, hidden from most
 *
 * QEMU maps a retained image privately: a page of the file has not been written to since the VM arrived, or has not been
 * touched at all. Memory without a file that was not touched is zero.
 */

import { closeSync, openSync, readSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { endianness } from "node:os";
import type { QmpClient } from "../qemu/qmp-client.ts";

const pageBytes = 4096;
const entryBytes = 8;
/** Two words an entry. */
const entryWords = 2;
const chunkEntries = 1 << 16;
/** In the upper half of an entry. */
const presentBit = 1 << 31;
const swappedBit = 1 << 30;
const fileBit = 1 << 29;

/** What a page holds, as far as the kernel tells. */
export const PageState = {
  /** Zero: never touched, and there is no file under it. */
  untouched: 1,
  /** As the mapped image has it. */
  asMapped: 2,
  /** The process's own: written to since it began, or read where there is no file. */
  own: 3,
} as const;

/** What the kernel knows of a guest's pages at one moment. */
export interface MemoryStates {
  /** One `PageState` a page. */
  readonly states: Uint8Array;
  /** How many are the process's own. */
  readonly ownPages: number;
}

/** Entries are in the machine's order. */
const isLittleEndian = endianness() === "LE";

/** Physical address that machines of all types have in their first region, so far into it. */
const probeAddress = 0x100000;

/** Where the main RAM lies, by the connection to its QEMU: one that begins a migration answers late. */
const addresses = new WeakMap<QmpClient, number>();

/** The main RAM of a QEMU process. Close it. */
export class GuestMemory {
  readonly pages: number;
  /** True if a file lies under it. */
  readonly isMapped: boolean;
  private readonly address: number;
  private readonly pagemap: number;
  private readonly memory: number;

  private constructor(address: number, pages: number, isMapped: boolean, files: readonly [number, number]) {
    this.address = address;
    this.pages = pages;
    this.isMapped = isMapped;
    [this.pagemap, this.memory] = files;
  }

  /** Null where the kernel does not let this process look, or the memory is not one mapping. */
  static async open(pid: number, qmp: QmpClient, memoryBytes: number): Promise<GuestMemory | null> {
    const files: number[] = [];
    try {
      const address = addresses.get(qmp) ?? (await addressIn(qmp));
      if (address === null) return null;
      addresses.set(qmp, address);
      const maps = await readFile(`/proc/${pid}/maps`, "utf8");
      const mapping = findMapping(maps, address, memoryBytes);
      if (mapping === null) return null;
      for (const name of ["pagemap", "mem"]) files.push(openSync(`/proc/${pid}/${name}`, "r"));
      const memory = new GuestMemory(address, memoryBytes / pageBytes, mapping.isMapped, [
        files[0],
        files[1],
      ]);
      // Some kernels open the file and show nothing.
      if (!memory.read(probeAddress / pageBytes, Buffer.alloc(pageBytes), 0)) {
        memory.close();
        return null;
      }
      return memory;
    } catch {
      for (const file of files) closeSync(file);
      return null;
    }
  }

  /** What the kernel knows of all pages. Throws where the process has ended. */
  states(): MemoryStates {
    const states = new Uint8Array(this.pages);
    const words = new Int32Array(Math.min(this.pages, chunkEntries) * entryWords);
    const upper = isLittleEndian ? 1 : 0;
    let ownPages = 0;
    for (let page = 0; page < this.pages; ) {
      const wanted = Math.min(chunkEntries, this.pages - page) * entryBytes;
      const at = (this.address / pageBytes + page) * entryBytes;
      const got = Math.floor(readSync(this.pagemap, words, 0, wanted, at) / entryBytes);
      if (got === 0) throw new Error("the process has ended");
      for (let i = 0; i < got; i++, page++) {
        const state = stateOf(words[i * entryWords + upper], this.isMapped);
        states[page] = state;
        if (state === PageState.own) ownPages++;
      }
    }
    return { states, ownPages };
  }

  /** Reads a page's content to `target[at]`. False if that cannot be done. */
  read(page: number, target: Uint8Array, at: number): boolean {
    try {
      return readSync(this.memory, target, at, pageBytes, this.address + page * pageBytes) === pageBytes;
    } catch {
      return false;
    }
  }

  close(): void {
    closeSync(this.pagemap);
    closeSync(this.memory);
  }
}

async function addressIn(qmp: QmpClient): Promise<number | null> {
  const answer = await qmp.execute<string>("human-monitor-command", {
    "command-line": `gpa2hva ${probeAddress}`,
  });
  const found = / is (0x[0-9a-f]+)/.exec(String(answer));
  return found === null ? null : Number(found[1]) - probeAddress;
}

/** `upper`: the upper half of an entry, as a signed number. */
export function stateOf(upper: number, isMapped: boolean): number {
  const isThere = (upper & (presentBit | swappedBit)) !== 0;
  if (isThere && (upper & fileBit) === 0) return PageState.own;
  return isMapped ? PageState.asMapped : PageState.untouched;
}

/** Whether a file lies under so many bytes from an address on; null if they are not within one mapping. */
export function findMapping(
  maps: string,
  address: number,
  bytes: number,
): { readonly isMapped: boolean } | null {
  for (const line of maps.split("\n")) {
    const fields = /^([0-9a-f]+)-([0-9a-f]+) (r\S{3}) \S+ \S+ (\d+)/.exec(line);
    if (fields === null) continue;
    const [from, to] = [Number.parseInt(fields[1], 16), Number.parseInt(fields[2], 16)];
    if (address < from || address >= to) continue;
    return address + bytes <= to ? { isMapped: fields[4] !== "0" } : null;
  }
  return null;
}

/**
 * Checks what a site keeps about other sites: which generation each holds, and digests of what is not here. Nothing
 * is restored from them; damaged ones make the next leg to that site a first leg.
 */

import { lstatSync } from "node:fs";
import { join } from "node:path";
import { bytesEqual } from "../../src/bytes.ts";
import type { Core } from "../../src/core.ts";
import { FormatError } from "../../src/errors.ts";
import { digestFileBytes } from "../../src/generation/block-digest-layout.ts";
import { digestBytes } from "../../src/generation/digest-tree.ts";
import { blocksOf, diskLimits, isDiskName } from "../../src/generation/disks.ts";
import { geometryLimits } from "../../src/generation/geometry.ts";
import type { Manifest } from "../../src/generation/manifest.ts";
import { partialPrefix } from "../store/atomic-file.ts";
import { namesIn } from "../store/folder.ts";
import { Holders, holderRecord, holdersFolder } from "../store/holders.ts";
import { isValidName } from "../store/vm-name.ts";
import { orFinding } from "./damage.ts";
import { type OpenFile, readFully, windowBytes, withFile } from "./file-window.ts";
import type { FindingLog } from "./report.ts";

/** Longest record that is read. */
const maxRecordBytes = 4096;
const hashBytes = 32;
const digestsName = /^([0-9a-f]{64})(?:\.([a-z0-9-]+))?\.digests$/;

/** What the check needs to know of the VM. */
export interface HoldersContext {
  readonly core: Core;
  readonly log: FindingLog;
  /** The VM's digest key, 32 bytes. */
  readonly key: Uint8Array;
  readonly vmPath: string;
  /** Of its generations; null where one cannot be read. */
  readonly manifests: readonly (Pick<Manifest, "disks"> | null)[];
}

/** Checks all files in the folder `holders` of a VM. */
export async function checkHolders(context: HoldersContext): Promise<void> {
  const { log, vmPath } = context;
  const folder = join(vmPath, holdersFolder);
  const stat = lstatSync(folder, { throwIfNoEntry: false });
  if (stat === undefined) return;
  if (!stat.isDirectory()) {
    const problem = stat.isSymbolicLink()
      ? "it is a symbolic link and was not followed"
      : "it is not a folder";
    log.add({ path: folder, problem });
    return;
  }
  const names = (await namesIn(folder)).sort();
  const roots = new Set<string>();
  let allRead = true;
  for (const name of names.filter((one) => one.endsWith(".json"))) {
    const root = await checkRecord(log, join(folder, name), name.slice(0, -".json".length));
    if (root === null) allRead = false;
    else roots.add(root);
  }
  for (const name of names) {
    const path = join(folder, name);
    if (name.endsWith(".json")) continue;
    const [, root, disk] = digestsName.exec(name) ?? [];
    if (name.startsWith(partialPrefix)) log.note(path, "left over by something interrupted");
    else if (root === undefined || (disk !== undefined && !isDiskName(disk))) {
      log.add({ path, problem: "it is neither a record of a site nor digests of a generation" });
    } else {
      // While a record cannot be read, nobody knows what it named.
      if (allRead && !roots.has(root)) log.note(path, "digests of a generation that no other site holds");
      await orFinding(log, { path }, async () =>
        disk === undefined
          ? await checkDigests(context.core, path)
          : await checkDisk(context, path, root, disk),
      );
    }
  }
}

/** Returns the root that a record names; null, with a finding, if it cannot be used. */
async function checkRecord(log: FindingLog, path: string, site: string): Promise<string | null> {
  return await orFinding(log, { path }, async () => {
    if (!isValidName(site)) throw new FormatError("bad-value", "no site has such a name");
    return await withRegularFile(path, (file) => {
      if (file.size > maxRecordBytes) {
        throw new FormatError(
          "bad-length",
          `it has ${file.size} bytes, at most ${maxRecordBytes} are allowed`,
        );
      }
      const bytes = new Uint8Array(file.size);
      readFully(file, bytes, 0);
      const record = holderRecord.safeParse(parse(bytes));
      if (!record.success) throw new FormatError("bad-value", "it is not a record of what a site holds");
      return record.data.root;
    });
  });
}

/** Page digests, the device state's, and the BLAKE3 of both. */
async function checkDigests(core: Core, path: string): Promise<void> {
  await withRegularFile(path, (file) => {
    const pages = (file.size - 2 * hashBytes) / digestBytes;
    if (!Number.isInteger(pages) || pages < 1 || pages > geometryLimits.pages) {
      throw new FormatError("bad-length", `its ${file.size} bytes are not digests of pages, and two more`);
    }
    const end = file.size - hashBytes;
    const window = new Uint8Array(Math.min(windowBytes, end));
    const hasher = core.createHasher();
    try {
      for (let at = 0; at < end; at += window.length) {
        const part = window.subarray(0, Math.min(window.length, end - at));
        readFully(file, part, at);
        hasher.update(part);
      }
      const stored = new Uint8Array(hashBytes);
      readFully(file, stored, end);
      if (!bytesEqual(stored, hasher.digest())) {
        throw new FormatError("bad-checksum", "it does not have the digest that it ends with");
      }
    } finally {
      hasher.release();
    }
  });
}

/** The file itself does not say how long its disk is: generations that have the disk do. */
async function checkDisk(
  { core, log, key, vmPath, manifests }: HoldersContext,
  path: string,
  root: string,
  disk: string,
): Promise<void> {
  const size = await withRegularFile(path, (file) => file.size);
  const most = digestFileBytes(blocksOf(diskLimits.lengthBytes));
  if (size === 0 || size % 4096 !== 0 || size > most) {
    throw new FormatError("bad-length", `its ${size} bytes are not the digests of a disk`);
  }
  const disks = manifests.flatMap((manifest) => manifest?.disks ?? []).filter(({ name }) => name === disk);
  const lengths = new Set(disks.map(({ lengthBytes }) => blocksOf(lengthBytes)));
  const fitting = [...lengths].filter((blocks) => digestFileBytes(blocks) === size);
  if (fitting.length === 0) {
    log.note(path, "it was not checked: no generation here has this disk with such a length");
    return;
  }
  const holders = new Holders(vmPath);
  for (const blocks of fitting) {
    const opened = await holders.openDiskDigests(core, key, { generation: 1, root }, disk, blocks);
    opened?.close();
    if (opened) return;
  }
  throw new FormatError(
    "bad-checksum",
    "its digests do not agree: it is damaged, or the key is another VM's",
  );
}

/** Opens a regular file for reading and closes it. Throws FormatError if it is a link or something else. */
async function withRegularFile<T>(path: string, use: (file: OpenFile) => T): Promise<T> {
  if (lstatSync(path).isSymbolicLink()) {
    throw new FormatError("bad-value", "it is a symbolic link and was not followed");
  }
  return await withFile(path, use);
}

function parse(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    return null;
  }
}

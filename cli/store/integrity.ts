/**
 * Whether retained content is still what was committed. Checking every digest takes time, so what was checked
 * once is taken for intact as long as none of its files was touched: same inode, size and times. Whatever alters
 * a file behind our back (a person, a guest's balloon, another program) changes these.
 *
 *     STORE/<vm>/intact.json     {"<generation>-<root>": "<identity of the chain's files>", …}
 *
 * What fails the check is moved aside and never used again.
 */

import { readFile, rename, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { fromHex, toHex } from "../../src/bytes.ts";
import type { Core } from "../../src/core.ts";
import { pageBytes } from "../../src/delta/vocabulary.ts";
import { FormatError } from "../../src/errors.ts";
import { type DiskTop, digestBytes, PageDigests } from "../../src/generation/digest-tree.ts";
import { findDiskDamage } from "../disk/disk-check.ts";
import { filesOf, type OpenDigests, openContent, openDigests } from "../disk/image-content.ts";
import { messageOf, OperationError } from "../errors.ts";
import { syncDirectory, writeFileAtomically } from "./atomic-file.ts";
import {
  chainOf,
  GenerationContent,
  readDeviceState,
  readDigests,
  type StoredGeneration,
} from "./generation-reader.ts";
import type { VmStore } from "./vm-store.ts";

const runPages = 128;
/** Prefix of folders that hold what failed a check. */
const damagedPrefix = "damaged-";

/** The ledger of checked generations of one VM. */
export class IntegrityLedger {
  private readonly store: VmStore;
  private readonly path: string;

  constructor(store: VmStore) {
    this.store = store;
    this.path = join(store.path, "intact.json");
  }

  /** Takes note that the generation is intact now: it was checked, or just written. */
  async record(generation: StoredGeneration): Promise<void> {
    const { generations } = await this.store.list();
    const known = await this.read();
    const kept = new Map<string, string>();
    for (const one of generations) {
      const identity = known.get(nameOf(one));
      if (identity !== undefined) kept.set(nameOf(one), identity);
    }
    const identity = await this.identityOf(generation);
    if (identity !== null) kept.set(nameOf(generation), identity);
    await this.write(kept);
  }

  /** Takes note that the generation must be checked before it is used again. */
  async forget(generation: StoredGeneration): Promise<void> {
    const known = await this.read();
    if (known.delete(nameOf(generation))) await this.write(known);
  }

  /** True if no file of the generation was touched since it was last found intact. */
  async isUntouched(generation: StoredGeneration): Promise<boolean> {
    const identity = await this.identityOf(generation);
    return identity !== null && (await this.read()).get(nameOf(generation)) === identity;
  }

  /**
   * Makes sure that a generation is what was committed: at once if it is untouched, by checking all of it, disks
   * included, otherwise. A damaged one is moved aside; then the result says what is wrong with it.
   */
  async ensure(core: Core, key: Uint8Array, generation: StoredGeneration): Promise<string | null> {
    if (await this.isUntouched(generation)) return null;
    return await this.check(core, key, generation);
  }

  /**
   * Like `ensure`, but checks all of it in any case, as long as `isWanted`; null also when it was ended early.
   * `ownBlocksOnly`: of disks only the blocks that the leg to this generation changed, if what lies under them was
   * not touched since it was checked.
   */
  async check(
    core: Core,
    key: Uint8Array,
    generation: StoredGeneration,
    isWanted: () => boolean = () => true,
    ownBlocksOnly = false,
  ): Promise<string | null> {
    const identity = await this.identityOf(generation);
    const problem =
      identity === null
        ? "a file of it is missing"
        : await this.findDamage(
            core,
            key,
            generation,
            isWanted,
            ownBlocksOnly && (await this.isUntouchedBelow(generation)),
          ).catch(damageOf);
    if (problem === null) {
      if (isWanted() && identity === (await this.identityOf(generation))) await this.record(generation);
      return null;
    }
    await this.setAside(generation);
    return problem;
  }

  /** True if a generation that was not touched names the images under those of this one. */
  private async isUntouchedBelow({ manifest }: StoredGeneration): Promise<boolean> {
    const { images } = this.store;
    const below = new Set<string>();
    for (const { image } of manifest.disks) {
      const { backing } = await images.read(image);
      if (backing !== null) below.add(backing);
    }
    for (const one of (await this.store.list()).generations) {
      const names = one.manifest.disks.map(({ image }) => image);
      if ([...below].every((image) => names.includes(image)) && (await this.isUntouched(one))) return true;
    }
    return false;
  }

  private async findDamage(
    core: Core,
    key: Uint8Array,
    generation: StoredGeneration,
    isWanted: () => boolean,
    ownBlocksOnly: boolean,
  ): Promise<string | null> {
    const { images } = this.store;
    const opened: OpenDigests[] = [];
    try {
      for (const { image } of generation.manifest.disks)
        opened.push(await openDigests(core, key, images, image));
      const tops = generation.manifest.disks.map(({ name, lengthBytes }, i) => {
        return { name, lengthBytes, top: opened[i].digests.top() };
      });
      const damage = await findRamDamage(core, key, generation, tops, isWanted);
      if (damage !== null) return damage;
      for (const [i, { name, image }] of generation.manifest.disks.entries()) {
        const { digests } = opened[i];
        const content = await openContent(images, image);
        try {
          const damaged = await findDiskDamage(core, content, digests, ownBlocksOnly, isWanted);
          if (damaged !== null) return `${damaged} of disk ${name} is not what was committed`;
        } finally {
          content.close();
        }
      }
      return null;
    } finally {
      for (const one of opened) one.close();
    }
  }

  /** Inode, size and times of every file of the chain and of the disks' images; null if one is missing. */
  private async identityOf(generation: StoredGeneration): Promise<string | null> {
    const paths: string[] = [];
    for (const { manifest, directory } of chainOf(generation)) {
      for (const name of Object.keys(manifest.files)) paths.push(join(directory, name));
    }
    try {
      for (const { image } of generation.manifest.disks)
        paths.push(...(await filesOf(this.store.images, image)));
    } catch {
      return null;
    }
    const parts = await Promise.all(
      paths.map(async (path) => {
        const found = await stat(path, { bigint: true }).catch(() => null);
        return found && [basename(path), found.ino, found.size, found.mtimeNs, found.ctimeNs].join(":");
      }),
    );
    return parts.includes(null) ? null : parts.join(" ");
  }

  private async setAside(generation: StoredGeneration): Promise<void> {
    const { generationsPath } = this.store;
    const number = generation.manifest.generation;
    await rename(generation.directory, join(generationsPath, `${damagedPrefix}${number}-${Date.now()}`));
    await syncDirectory(generationsPath);
  }

  private async write(known: Map<string, string>): Promise<void> {
    await writeFileAtomically(this.path, `${JSON.stringify(Object.fromEntries(known))}\n`);
  }

  private async read(): Promise<Map<string, string>> {
    try {
      return new Map(Object.entries(JSON.parse(await readFile(this.path, "utf8")) as Record<string, string>));
    } catch {
      // Without a readable ledger everything is checked again.
      return new Map();
    }
  }
}

/** Compares everything but disks with its digests. Returns what is wrong first, or null. Lets other work in between. */
async function findRamDamage(
  core: Core,
  key: Uint8Array,
  generation: StoredGeneration,
  tops: readonly DiskTop[],
  isWanted: () => boolean,
): Promise<string | null> {
  const { manifest } = generation;
  const device = await readDeviceState(core, generation);
  if (toHex(core.blake3(device, key)) !== manifest.deviceDigest)
    return "its device state is not what was committed";
  const known = await readDigests(generation);
  const content = new GenerationContent(core, generation);
  const digests = new PageDigests(core, key, content.geometry, known);
  const pages = core.allocate(runPages * pageBytes);
  const found = core.allocate(runPages * digestBytes);
  try {
    if (toHex(digests.root(fromHex(manifest.deviceDigest), tops)) !== manifest.root)
      return "its digests do not have its root";
    const { totalPages } = content.geometry;
    for (let first = 0; first < totalPages && isWanted(); first += runPages) {
      const count = Math.min(runPages, totalPages - first);
      content.readPages(first, count, pages);
      core.raw.pageDigests(pages, count, digests.keyPointer, found);
      for (let i = 0; i < count; i++) {
        if (!digests.equals(first + i, core.bytes(), found + i * digestBytes)) {
          return `page ${first + i} of its memory is not what was committed`;
        }
      }
      await nextTurn();
    }
    return null;
  } finally {
    core.release(pages);
    core.release(found);
    digests.release();
    content.close();
  }
}

function nameOf({ manifest }: StoredGeneration): string {
  return `${manifest.generation}-${manifest.root}`;
}

/** What an error says of the files. Throws it again if it says something of this process instead: out of memory, or of files. */
function damageOf(error: unknown): string {
  const { code = "" } = error as NodeJS.ErrnoException;
  const isDamage = error instanceof FormatError || error instanceof OperationError;
  if (isDamage || ["ENOENT", "EIO", "EISDIR", "ENOTDIR"].includes(code)) return messageOf(error);
  throw error;
}

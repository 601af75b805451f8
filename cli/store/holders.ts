/**
 * Which generation other sites are known to hold, and its page digests where its content is not here.
 *
 *     STORE/<vm>/holders/<site>.json         {"generation": n, "root": "…"}
 *     STORE/<vm>/holders/<root>.<disk>.digests  block digests of a disk, as image files have them, with nothing under them
 *     STORE/<vm>/holders/<root>.digests      16 bytes a page, the device state's digest (32), and the BLAKE3 of
 *                                            both (32); checked against the root when they arrived
 */

import { readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { concatBytes, toHex } from "../../src/bytes.ts";
import type { Core } from "../../src/core.ts";
import { BlockDigests } from "../../src/generation/block-digests.ts";
import { digestBytes } from "../../src/generation/digest-tree.ts";
import type { GenerationId } from "../../src/generation/manifest.ts";
import type { OpenDigests } from "../disk/image-content.ts";
import { partialPrefix, syncDirectory, writeFileAtomically } from "./atomic-file.ts";
import { DigestFile } from "./digest-file.ts";
import { makeFolder } from "./folder.ts";
import { isValidName } from "./vm-name.ts";

/** Name of the folder in a VM's. */
export const holdersFolder = "holders";

/** The record of what a site holds. */
export const holderRecord = z.strictObject({
  generation: z.int().positive(),
  root: z.string().regex(/^[0-9a-f]{64}$/),
});
const hashBytes = 32;

/** What the root of a generation is computed from. */
export interface DigestsOf {
  /** 16 bytes a page. */
  readonly digests: Uint8Array;
  /** Keyed BLAKE3-256 of the device state. */
  readonly deviceDigest: Uint8Array;
}

/** The holders of one VM's generations. */
export class Holders {
  private readonly path: string;

  constructor(vmPath: string) {
    this.path = join(vmPath, holdersFolder);
  }

  /** The newest generation that each other site is known to hold. Damaged records are left out. */
  async list(): Promise<Map<string, GenerationId>> {
    const found = new Map<string, GenerationId>();
    for (const name of await readdir(this.path).catch(() => [] as string[])) {
      const site = name.replace(/\.json$/, "");
      if (site === name || !isValidName(site)) continue;
      const id = holderRecord.safeParse(parse(await readFile(join(this.path, name), "utf8")));
      if (id.success) found.set(site, id.data);
    }
    return found;
  }

  /** Records that a site holds a generation. Older knowledge about the site is replaced. */
  async record(site: string, id: GenerationId): Promise<void> {
    const known = (await this.list()).get(site);
    if (known && known.generation > id.generation) return;
    await makeFolder(this.path);
    await writeFileAtomically(join(this.path, `${site}.json`), `${JSON.stringify(id)}\n`);
    await this.forgetUnused();
  }

  /** Keeps the digests of a generation whose content is not, or soon no longer, here. */
  async keepDigests(core: Core, id: GenerationId, { digests, deviceDigest }: DigestsOf): Promise<void> {
    await makeFolder(this.path);
    const content = concatBytes([digests, deviceDigest]);
    await writeFileAtomically(this.digestsPath(id), concatBytes([content, core.blake3(content)]));
  }

  /** The digests of a generation, or null if they are not here or damaged. */
  async readDigests(core: Core, id: GenerationId): Promise<DigestsOf | null> {
    const file = await readFile(this.digestsPath(id)).catch(() => null);
    if (file === null || file.length <= 2 * hashBytes) return null;
    const content = new Uint8Array(file.subarray(0, file.length - hashBytes));
    if (toHex(core.blake3(content)) !== toHex(file.subarray(content.length))) return null;
    const end = content.length - hashBytes;
    return { digests: content.subarray(0, end), deviceDigest: content.subarray(end) };
  }

  /** Keeps the digests of a generation's disk in a file of their own, whatever lies under it. */
  async keepDiskDigests(
    core: Core,
    key: Uint8Array,
    id: GenerationId,
    disk: string,
    digests: BlockDigests,
    change: (target: BlockDigests) => Promise<void> = async () => {},
  ): Promise<Uint8Array> {
    await makeFolder(this.path);
    const path = join(this.path, `${partialPrefix}${id.root}-${disk}`);
    await rm(path, { force: true });
    const file = DigestFile.create(path, digests.blocks);
    const copy = new BlockDigests(core, key, digests.blocks, [file]);
    try {
      const digest = new Uint8Array(digestBytes);
      for (const { block, count } of digests.nonZeroRuns()) {
        for (let i = block; i < block + count; i++) {
          digests.copy(i, 1, digest, 0);
          copy.set(i, digest, 0);
        }
      }
      await change(copy);
      copy.flush();
      await file.sync();
      await rename(path, this.diskDigestsPath(id, disk));
      await syncDirectory(this.path);
      return copy.top();
    } finally {
      copy.release();
      file.close();
      await rm(path, { force: true });
    }
  }

  /** The digests of a generation's disk, open; null if they are not here or damaged. */
  async openDiskDigests(
    core: Core,
    key: Uint8Array,
    id: GenerationId,
    disk: string,
    blocks: number,
  ): Promise<OpenDigests | null> {
    let file: DigestFile;
    try {
      file = DigestFile.open(this.diskDigestsPath(id, disk), blocks, { writable: false });
    } catch {
      return null;
    }
    const digests = new BlockDigests(core, key, blocks, [file], { writable: false });
    const close = () => {
      digests.release();
      file.close();
    };
    if (digests.checkNodes()) return { digests, close };
    close();
    return null;
  }

  /** Removes what is kept of a generation: it was not what it was said to be. */
  async forgetDigests({ root }: GenerationId): Promise<void> {
    for (const name of await readdir(this.path).catch(() => [] as string[])) {
      if (rootOf(name) === root) await rm(join(this.path, name), { force: true });
    }
  }

  private diskDigestsPath({ root }: GenerationId, disk: string): string {
    return join(this.path, `${root}.${disk}.digests`);
  }

  private digestsPath(id: GenerationId): string {
    return join(this.path, `${id.root}.digests`);
  }

  /** Removes digests of generations that no site is known to hold any more. */
  private async forgetUnused(): Promise<void> {
    const roots = new Set([...(await this.list()).values()].map(({ root }) => root));
    for (const name of await readdir(this.path)) {
      const root = rootOf(name);
      if (root !== null && !roots.has(root)) await rm(join(this.path, name), { force: true });
    }
  }
}

/** The root in the name of a file of digests; null for other names. */
function rootOf(name: string): string | null {
  return /^([0-9a-f]{64})(\.[a-z0-9-]+)?\.digests$/.exec(name)?.[1] ?? null;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/**
 * The disk images of one VM at one site. A generation names one image for each disk; an image is a file of blocks
 * over another image, down to one that has all. Files never change while a generation needs them: the VM writes
 * to an image that no generation names.
 *
 *     STORE/<vm>/images/<id>.json      descriptor: which file, over which image, and which digests
 *     STORE/<vm>/images/<file>.qcow2   blocks
 *     STORE/<vm>/images/<file>.digests digests of the blocks that the image has of its own; none while a VM writes to it
 *     STORE/<vm>/disks.json            the images that the VM here writes to, or wrote to last
 *
 * A descriptor can name another file later: that is how images are merged (merge.ts) without touching what names them.
 */

import { randomBytes } from "node:crypto";
import { readFile, rm, stat } from "node:fs/promises";
import { isAbsolute, join } from "node:path";
import { z } from "zod";
import { diskLimits, isDiskName } from "../../src/generation/disks.ts";
import { imageIdPattern } from "../../src/generation/manifest.ts";
import { OperationError } from "../errors.ts";
import { partialPrefix, writeFileAtomically } from "../store/atomic-file.ts";
import { makeFolder, namesIn } from "../store/folder.ts";

/** Images that may lie over one another. */
export const maxChainImages = 64;

const imageId = z.string().regex(imageIdPattern);
const fileName = z.string().regex(/^[a-z][a-z0-9.-]{0,63}$/);
const descriptorSchema = z.strictObject({
  format: z.literal(1),
  id: imageId,
  /** Name of the disk. */
  disk: z.string().refine(isDiskName),
  lengthBytes: z.int().positive().max(diskLimits.lengthBytes),
  imageFormat: z.enum(["raw", "qcow2"]),
  /** A name in the folder of images, or the absolute path of a file that the operator gave. */
  file: z.union([fileName, z.string().refine(isAbsolute)]),
  /** The image under this one; null if it has everything itself. */
  backing: imageId.nullable(),
  /** File of digests; null while a VM may write to the image. */
  digests: fileName.nullable(),
});

/** What is known of an image. */
export type ImageDescriptor = z.infer<typeof descriptorSchema>;

const currentSchema = z.strictObject({
  format: z.literal(1),
  /** Id of the image of each disk. */
  images: z.record(z.string(), imageId),
  /** Images of a state that was given up by `recover`; kept until a newer generation is complete. */
  aside: z.array(imageId),
});

/** The images that the VM at this site writes to. */
export type CurrentDisks = z.infer<typeof currentSchema>;

/** The images of a VM in `STORE/<vm>/images`. */
export class ImageStore {
  /** Folder of images. */
  readonly path: string;
  private readonly currentPath: string;

  constructor(vmPath: string) {
    this.path = join(vmPath, "images");
    this.currentPath = join(vmPath, "disks.json");
  }

  async prepare(): Promise<void> {
    await makeFolder(this.path);
  }

  /** An id that no image has. */
  newId(disk: string): string {
    return `${disk}-${randomBytes(4).toString("hex")}`;
  }

  /** A descriptor for a new image in the store; nothing is written. */
  describe(disk: string, lengthBytes: number, backing: string | null): ImageDescriptor {
    const id = this.newId(disk);
    return {
      format: 1,
      id,
      disk,
      lengthBytes,
      imageFormat: "qcow2",
      file: `${id}.qcow2`,
      backing,
      digests: null,
    };
  }

  /** Path of the image's file. */
  pathOf({ file }: ImageDescriptor): string {
    return isAbsolute(file) ? file : join(this.path, file);
  }

  /** Path of the file with its digests. Throws OperationError while it has none. */
  digestsPathOf({ id, digests }: ImageDescriptor): string {
    if (digests === null) throw new OperationError("failed", `Cannot use image ${id}: it has no digests`);
    return join(this.path, digests);
  }

  /** Reads a descriptor. Throws OperationError if it is missing or damaged. */
  async read(id: string): Promise<ImageDescriptor> {
    const path = this.descriptorPath(id);
    const found = descriptorSchema.safeParse(await readJson(path));
    if (found.success && found.data.id === id) return found.data;
    throw new OperationError("failed", `Cannot use image ${id}: ${path} is missing or damaged`);
  }

  /** Puts a descriptor in force durably. */
  async write(descriptor: ImageDescriptor): Promise<void> {
    const text = JSON.stringify(descriptorSchema.parse(descriptor));
    await writeFileAtomically(this.descriptorPath(descriptor.id), `${text}\n`);
  }

  /** All descriptors by id; damaged ones are left out. */
  async list(): Promise<Map<string, ImageDescriptor>> {
    const found = new Map<string, ImageDescriptor>();
    for (const name of await namesIn(this.path)) {
      const id = name.replace(/\.json$/, "");
      if (id === name || !imageIdPattern.test(id)) continue;
      const descriptor = await this.read(id).catch(() => null);
      if (descriptor) found.set(id, descriptor);
    }
    return found;
  }

  /** The image and those under it, newest first. Throws OperationError if one is missing. */
  async chain(id: string): Promise<ImageDescriptor[]> {
    const chain: ImageDescriptor[] = [];
    for (let next: string | null = id; next !== null; ) {
      const image: ImageDescriptor = await this.read(next);
      if (chain.length === maxChainImages) {
        throw new OperationError("failed", `Cannot use image ${id}: more than ${maxChainImages} under it`);
      }
      chain.push(image);
      next = image.backing;
    }
    return chain;
  }

  /** What the VM here writes to; no images if that was never recorded. Throws OperationError if it is damaged. */
  async current(): Promise<CurrentDisks> {
    const value = await readJson(this.currentPath);
    if (value === undefined) return { format: 1, images: {}, aside: [] };
    const found = currentSchema.safeParse(value);
    if (found.success) return found.data;
    throw new OperationError(
      "refused",
      `Cannot trust ${this.currentPath}: it is not a valid record of disks`,
    );
  }

  /** Records durably what the VM here writes to from now on. */
  async setCurrent(current: CurrentDisks): Promise<void> {
    await writeFileAtomically(this.currentPath, `${JSON.stringify(currentSchema.parse(current))}\n`);
  }

  /**
   * Gives up what was set aside once all that the VM wrote to since has become part of a generation: the VM has left.
   * Until then it may be all that is left of the newer state.
   */
  async forgetAside(): Promise<void> {
    const current = await this.current();
    const written = Object.values(current.images);
    if (current.aside.length === 0 || written.length === 0) return;
    for (const id of written) if ((await this.read(id)).digests === null) return;
    await this.setCurrent({ ...current, aside: [] });
  }

  /**
   * Removes images that neither `roots`, nor what the VM writes to, nor what was set aside needs. Files outside of
   * the store are never removed. While one of these cannot be followed down to its end nothing is removed: what lies
   * beyond may still be wanted. Returns the number of files removed.
   */
  async sweep(roots: Iterable<string>): Promise<number> {
    const { images, aside } = await this.current();
    const needed = new Set<string>();
    for (const root of [...roots, ...Object.values(images), ...aside]) {
      const chain = await this.chain(root).catch(() => null);
      if (chain === null) return 0;
      for (const { id } of chain) needed.add(id);
    }
    const kept = new Set<string>();
    for (const [id, descriptor] of await this.list()) {
      if (!needed.has(id)) continue;
      for (const name of [`${id}.json`, descriptor.file, descriptor.digests ?? ""]) kept.add(name);
    }
    let removed = 0;
    for (const name of await namesIn(this.path)) {
      if (kept.has(name)) continue;
      await rm(join(this.path, name), { force: true });
      removed++;
    }
    return removed;
  }

  /** Bytes that the image's own files take on the disk. */
  async bytesOf(image: ImageDescriptor): Promise<number> {
    let total = 0;
    const paths = [this.pathOf(image), ...(image.digests === null ? [] : [this.digestsPathOf(image)])];
    for (const path of paths) total += (await stat(path).catch(() => null))?.blocks ?? 0;
    return total * 512;
  }

  /** Name of a digests file that a leg fills and that means nothing yet. */
  partialDigests(legId: string, image: string): string {
    return join(this.path, `${partialPrefix}${legId}-${image}.digests`);
  }

  private descriptorPath(id: string): string {
    return join(this.path, `${id}.json`);
  }
}

/** The parsed file; undefined if it is missing, null if it is not JSON. */
async function readJson(path: string): Promise<unknown> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

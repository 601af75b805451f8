/**
 * Which pages of a guest are what the base has because nobody has written to them since its QEMU was given them: such a
 * page need neither be read from the store nor be compared.
 *
 * QEMU maps a generation's complete image privately, and Linux tells which pages of that mapping were ever written to
 * (`qemu/pagemap.ts`). A page that QEMU has sent, and that is found to be unwritten *after it was received*, was sent as the
 * mapped image has it: no log of QEMU's is relied on, in any pass. Whether that is what the base has:
 *
 *     the base's own complete image is the mapped file, by device and inode     yes, for pages that no delta above it has,
 *                                                                               whatever generation QEMU began with
 *     the base is the generation that this QEMU was loaded with                 yes, for pages that it was not fed then: the
 *                                                                               base's image may have been replaced since by a
 *                                                                               compacted one, with the same in these pages
 *     neither                                                                   not known
 *
 * All other pages are compared. So it does not matter whether QEMU writes to a page that it is fed (it leaves zero pages
 * alone that are zero), nor would it if pages were given back to the file, as memory errors can do at a reset: the guest then
 * has what the file has. A file is neither changed nor cut short while it is retained; were it damaged on the disk, QEMU would
 * send what the base reads as, and a comparison would find them equal as well. Where a device may punch holes into the file
 * (ballooning, virtio-mem) everything is compared.
 */

import { readFile } from "node:fs/promises";
import type { Core } from "../../src/core.ts";
import type { GenerationId } from "../../src/generation/manifest.ts";
import { type FileIdentity, fileIdentity, isSameFile } from "../file-identity.ts";
import { findImagePunchers } from "../qemu/arguments.ts";
import { openPrivateMapping, type PrivateMapping, type ProcessIdentity } from "../qemu/pagemap.ts";
import { GenerationContent, imagePathOf, type StoredGeneration } from "../store/generation-reader.ts";
import type { CommonBase } from "./common-base.ts";

/** Pages of one look: more than a chunk of the stream has, and no look costs much less. */
const lookPages = 17;

/** The state that a QEMU was given. */
export interface LoadedGeneration {
  readonly id: GenerationId;
  /** What it maps of it. */
  readonly image: FileIdentity;
  /** A bit for each page that was fed, since the image has not got it, over the page space. */
  readonly fed: Uint8Array;
}

/** The process that runs a guest. */
export interface GuestProcess extends ProcessIdentity {
  /** Null if it was not loaded with a generation, or an agent before this one has done it. */
  readonly loaded: LoadedGeneration | null;
}

/** What a guest maps privately. */
export interface GuestMapping {
  readonly pages: PrivateMapping;
  readonly loaded: LoadedGeneration | null;
}

/** What a QEMU has that has just been loaded with a generation. Throws OperationError if that cannot be read. */
export function loadedGeneration(core: Core, generation: StoredGeneration): LoadedGeneration {
  const { generation: number, root } = generation.manifest;
  const content = new GenerationContent(core, generation);
  try {
    const fed = new Uint8Array(Math.ceil(content.geometry.totalPages / 8));
    for (const page of content.pagesAboveImage()) fed[page >> 3] |= 1 << (page & 7);
    return { id: { generation: number, root }, image: content.image, fed };
  } finally {
    content.close();
  }
}

/** Finds what a guest maps of the base. Null if nothing can be known of that; then everything is compared. */
export async function openGuestMapping(
  guest: GuestProcess | null,
  base: CommonBase,
  memoryBytes: number,
): Promise<GuestMapping | null> {
  if (guest === null || base.mode !== "content") return null;
  const { loaded } = guest;
  const args = await readFile(`/proc/${guest.pid}/cmdline`, "utf8").catch(() => null);
  if (args === null || findImagePunchers(args.split("\0")).length > 0) return null;
  const image = loaded?.image ?? (await fileIdentity(imagePathOf(base.generation)).catch(() => null));
  const pages = image && (await openPrivateMapping(guest, image, memoryBytes));
  return pages && { pages, loaded };
}

/** Answers for the pages of a stream that is being received. Create it with `unwrittenPages`. */
export class UnwrittenPages {
  /** Pages that were told to be the base's. */
  count = 0;
  private readonly pages: PrivateMapping;
  private readonly isOfImage: (page: number) => boolean;
  private readonly marks = new Uint8Array(lookPages);
  private first = 0;
  private end = 0;

  /** `isOfImage`: true for pages of which the base has what the mapped file has. */
  constructor(pages: PrivateMapping, isOfImage: (page: number) => boolean) {
    this.pages = pages;
    this.isOfImage = isOfImage;
  }

  /** More of the stream has come: what was seen before says nothing of it. */
  received(): void {
    this.end = 0;
  }

  /** True if a page of the main RAM, which was received before the last call of `received`, is what the base has. */
  isBase(page: number): boolean {
    if (page >= this.pages.pages) return false;
    if (page < this.first || page >= this.end) this.look(page);
    if (this.marks[page - this.first] === 0 || !this.isOfImage(page)) return false;
    this.count++;
    return true;
  }

  private look(page: number): void {
    const count = Math.min(lookPages, this.pages.pages - page);
    this.pages.look(page, count, this.marks);
    this.first = page;
    this.end = page + count;
  }
}

/** For a stream that is compared with a base and its content; null where the mapping says nothing of it. */
export function unwrittenPages(
  { pages, loaded }: GuestMapping,
  base: GenerationId,
  content: GenerationContent,
): UnwrittenPages | null {
  if (isSameFile(pages.file, content.image)) {
    return new UnwrittenPages(pages, (page) => content.isInImage(page));
  }
  if (loaded === null || loaded.id.generation !== base.generation || loaded.id.root !== base.root)
    return null;
  const { fed } = loaded;
  return new UnwrittenPages(pages, (page) => (fed[page >> 3] & (1 << (page & 7))) === 0);
}

/**
 * Checks the contents of a generation in the two ways that it is held.
 *
 *     digests ◄── image, complete or an overlay over the base    what a VM is restarted from
 *     digests ◄── base's digests + the delta replayed            what crossed the WAN
 */

import { join } from "node:path";
import { bytesEqual, fromHex, toHex } from "../../src/bytes.ts";
import { pageBytes } from "../../src/delta/vocabulary.ts";
import { type DiskTop, digestBytes, PageDigests } from "../../src/generation/digest-tree.ts";
import { GenerationContent, readDigests } from "../store/generation-reader.ts";
import type { CheckContext, CheckedGeneration, GenerationClaims } from "./checked-generation.ts";
import { isDamage, orFinding } from "./damage.ts";
import { checkDelta, type DeltaResult, type ReplayBase } from "./delta-check.ts";
import { DiskReplay } from "./disk-replay.ts";
import { withFile } from "./file-window.ts";
import { checkImage } from "./image-check.ts";
import { PageFindings } from "./page-findings.ts";

/** Pages of an image that are not good, as bitmaps over the page space. */
interface ImageResult {
  readonly wrong: Uint8Array;
  readonly leftover: Uint8Array;
}

const problems = {
  root: "the digests do not give the root that the manifest names: something was altered, or the key is another VM's",
  contentRoot: "the contents do not give the root that the manifest names",
  digest: "the page's digest in this file is damaged, its content is right",
  content: "the page's content does not have its digest",
  leftover: "the page has no record, but is neither zero nor what the generation has there",
  replay: "replaying the delta on the base gives another content than the page's digest says",
  noRecord: "the page has no record, but its digest is not the base's",
} as const;

/** What the contents turned out to be. */
export interface ContentResult {
  /** Pages that are wrong through the chain; null if nothing vouches for them. */
  readonly wrong: Uint8Array | null;
  /** The right digests, made from contents that give the root, where the file with the digests is damaged. */
  readonly rightDigests: Uint8Array | null;
  /** Tops of the disks with which the root is given; null if it is not. */
  readonly tops: readonly DiskTop[] | null;
}

/** Checks delta and image. */
export async function checkContent(context: CheckContext, claims: GenerationClaims): Promise<ContentResult> {
  const { log, quick } = context;
  const { stored, base, digests, hasDigests, digestsGood, disks } = claims;
  const { manifest, directory } = stored;
  const { generation } = manifest;
  const isOverlay = manifest.base !== null;
  const add = (name: string, problem: string) =>
    log.add({ path: join(directory, name), generation, problem });
  const replayed = isOverlay && base ? await digestsOf(base) : null;
  // Only needed to tell damaged digests from damaged contents.
  const actual = digestsGood || quick ? null : (replayed?.slice() ?? new Uint8Array(digests.digests.length));
  const delta = isOverlay ? await replay(context, claims, replayed) : null;
  if (quick) {
    if (hasDigests && !digestsGood && disks.haveTops) add("digests", problems.root);
    return { wrong: null, rightDigests: null, tops: claims.tops };
  }
  const bitmapBytes = Math.ceil(digests.geometry.totalPages / 8);
  const dirty = isOverlay ? (delta?.dirty ?? new Uint8Array(bitmapBytes)) : null;
  const image = await lookAtImage(context, claims, dirty, actual);
  const foundTops = actual !== null && image !== null ? topsFor(context, claims, actual) : null;
  const contentGood = foundTops !== null;
  const tops = claims.tops ?? foundTops;
  if (contentGood && actual && hasDigests) {
    const different = differences(digests.digests, actual);
    reportPages(context, claims, "digests", different, problems.digest, digestBytes);
  } else if (!contentGood && !digestsGood && disks.haveTops) {
    if (hasDigests) add("digests", problems.root);
    else add("ram.img", problems.contentRoot);
  }
  const truth = contentGood && actual ? actual : digests.digests;
  if (image) {
    if (!contentGood && hasDigests) reportPages(context, claims, "ram.img", image.wrong, problems.content);
    reportPages(context, claims, "ram.img", image.leftover, problems.leftover);
  }
  const unlike = replayed && (hasDigests || contentGood) ? differences(truth, replayed) : null;
  if (unlike && delta?.replayed && dirty) {
    reportPages(context, claims, "delta", masked(unlike, dirty, true), problems.replay, 0);
    reportPages(context, claims, "digests", masked(unlike, dirty, false), problems.noRecord, digestBytes);
  }
  const rightDigests = contentGood ? actual : null;
  if (image === null || !(digestsGood || contentGood) || (isOverlay && !delta?.dirty)) {
    return { wrong: null, rightDigests, tops };
  }
  const own = contentGood ? new Uint8Array(bitmapBytes) : image.wrong;
  return { wrong: dirty === null ? own : throughChain(own, dirty, base, unlike), rightDigests, tops };
}

/** Digests of a base, as a copy; null if nothing vouches for them. */
async function digestsOf(base: CheckedGeneration): Promise<Uint8Array | null> {
  return base.digestsGood ? await readDigests(base.stored) : (base.rightDigests?.slice() ?? null);
}

/** Replays the delta; `digests` (the base's) become the generation's. In quick mode only its structure counts. */
async function replay(
  context: CheckContext,
  claims: GenerationClaims,
  digests: Uint8Array | null,
): Promise<DeltaResult | null> {
  const { core, log, quick, onBytes } = context;
  const { stored, base, files } = claims;
  if (!files.has("delta")) return null;
  const content = digests === null || quick || base === null ? null : openContent(context, base);
  const { keyPointer } = claims.digests;
  const onto: ReplayBase | null = content && digests ? { content, digests, keyPointer } : null;
  if (onto === null && !quick) {
    const path = join(stored.directory, "delta");
    const problem = "the delta cannot be replayed: its base is missing or damaged";
    log.add({ path, generation: stored.manifest.generation, problem });
  }
  const disks = new DiskReplay(context, claims, onto && base ? base.disks : null);
  try {
    const result = await checkDelta(core, log, stored, claims.digests.geometry, onto, disks, onBytes);
    return onto === null ? { ...result, replayed: false } : result;
  } finally {
    disks.close();
    content?.close();
  }
}

function openContent(context: CheckContext, base: CheckedGeneration): GenerationContent | null {
  try {
    return new GenerationContent(context.core, base.stored);
  } catch (error) {
    if (!isDamage(error)) throw error;
    return null;
  }
}

async function lookAtImage(
  context: CheckContext,
  claims: GenerationClaims,
  dirty: Uint8Array | null,
  actual: Uint8Array | null,
): Promise<ImageResult | null> {
  const { core, log, onBytes } = context;
  const { stored, files, digests } = claims;
  if (!files.has("ram.img")) return null;
  const path = join(stored.directory, "ram.img");
  const bitmapBytes = Math.ceil(digests.geometry.totalPages / 8);
  const result: ImageResult = { wrong: new Uint8Array(bitmapBytes), leftover: new Uint8Array(bitmapBytes) };
  return await orFinding(log, { path, generation: stored.manifest.generation }, () =>
    withFile(path, async (file) => {
      const onPage = (page: number, verdict: keyof ImageResult) => setBit(result[verdict], page);
      await checkImage(core, file, { expected: digests, dirty, actual, onPage, onBytes });
      return result;
    }),
  );
}

/** Tops of the disks with which page digests give the root; null if there are none. */
function topsFor(
  { core, key }: CheckContext,
  { stored, digests, disks }: GenerationClaims,
  actual: Uint8Array,
): readonly DiskTop[] | null {
  const { root, deviceDigest } = stored.manifest;
  const tree = new PageDigests(core, key, digests.geometry, actual);
  try {
    return disks.findTops((tops) => toHex(tree.root(fromHex(deviceDigest), tops)) === root);
  } finally {
    tree.release();
  }
}

/** Wrong pages of the overlay, and of the base where the overlay does not answer. */
function throughChain(
  own: Uint8Array,
  dirty: Uint8Array,
  base: CheckedGeneration | null,
  unlikeBase: Uint8Array | null,
): Uint8Array | null {
  if (!base?.wrong || unlikeBase === null) return null;
  const below = base.wrong;
  return own.map((bits, i) => bits | (~dirty[i] & (below[i] | unlikeBase[i])));
}

/** Bitmap of the pages whose 16 bytes differ. */
function differences(a: Uint8Array, b: Uint8Array): Uint8Array {
  const pages = a.length / digestBytes;
  const bitmap = new Uint8Array(Math.ceil(pages / 8));
  for (let page = 0; page < pages; page++) {
    const from = page * digestBytes;
    if (!bytesEqual(a.subarray(from, from + digestBytes), b.subarray(from, from + digestBytes)))
      setBit(bitmap, page);
  }
  return bitmap;
}

function masked(bitmap: Uint8Array, mask: Uint8Array, keepSet: boolean): Uint8Array {
  return bitmap.map((bits, i) => bits & (keepSet ? mask[i] : ~mask[i]));
}

function reportPages(
  { log }: CheckContext,
  { stored, digests }: GenerationClaims,
  name: string,
  pages: Uint8Array,
  problem: string,
  bytesPerPage: number = pageBytes,
): void {
  const about = { path: join(stored.directory, name), generation: stored.manifest.generation };
  const findings = new PageFindings(log, digests.geometry, about, problem, bytesPerPage);
  for (let page = 0; page < digests.geometry.totalPages; page++) {
    if (pages[page >> 3] & (1 << (page & 7))) findings.add(page);
  }
  findings.end();
}

function setBit(bitmap: Uint8Array, bit: number): void {
  bitmap[bit >> 3] |= 1 << (bit & 7);
}

/**
 * Checks the contents of a generation in the two ways that it is held.
 *
 *     digests ◄── image, complete or an overlay over the base    what a VM is restarted from
 *     digests ◄── base's digests + the delta replayed            what crossed the WAN
 */

import { fromHex, toHex } from "../bytes.ts";
import { pageBytes } from "../delta/vocabulary.ts";
import { DigestStream } from "../generation/digest-stream.ts";
import { type DiskTop, digestBytes, rootOver } from "../generation/digest-tree.ts";
import { ChainContent } from "./chain-content.ts";
import {
  type CheckContext,
  type CheckedGeneration,
  chainOf,
  type GenerationClaims,
  type WrongPages,
} from "./checked-generation.ts";
import { isDamage, orFinding } from "./damage.ts";
import { checkDelta, type DeltaResult, type ReplayBase, rescueBitmap } from "./delta-check.ts";
import { digestsInMemory, readAllDigests } from "./digest-windows.ts";
import { pathIn, withInput } from "./generation-files.ts";
import { checkImage, type ImageVisitor } from "./image-check.ts";
import { bitOf, bitsOf, differences, noBits, setBit } from "./page-bits.ts";
import { PageFindings } from "./page-findings.ts";
import { compareDigestsOf, keepDigestsOf, type ReplayedDigests } from "./replayed-digests.ts";

/** Largest guest memory of which damaged digests are told from damaged contents, unless the caller says another: 4 GiB. */
const maxToldPages = 2 ** 20;

/** Pages of an image that are not good, as bitmaps over the page space; null if there are none. */
interface ImageResult {
  wrong: Uint8Array | null;
  leftover: Uint8Array | null;
}

const problems = {
  root: "the digests do not give the root that the manifest names: something was altered, or the key is another VM's",
  contentRoot: "the contents do not give the root that the manifest names",
  contentUnknown: "its pages were not looked at: there are no digests, and too many pages to do without them",
  digest: "the page's digest in this file is damaged, its content is right",
  content: "the page's content does not have its digest",
  leftover: "the page has no record, but is neither zero nor what the generation has there",
  replay: "replaying the delta on the base gives another content than the page's digest says",
  noRecord: "the page has no record, but its digest is not the base's",
} as const;

const notTold =
  "its digests are damaged or missing, and it has too much memory for damaged digests to be told from damaged contents";

/** What the contents turned out to be. */
export interface ContentResult {
  /** Pages that are wrong through the chain; null if nothing vouches for them. */
  readonly wrong: WrongPages;
  /** The right digests, made from contents that give the root, where the file with the digests is damaged. */
  readonly rightDigests: Uint8Array | null;
  /** Tops of the disks with which the root is given; null if it is not. */
  readonly tops: readonly DiskTop[] | null;
  /** Pages that have a record; null if there is no delta, or it does not say. */
  readonly dirty: Uint8Array | null;
}

/** Checks delta and image. */
export async function checkContent(context: CheckContext, claims: GenerationClaims): Promise<ContentResult> {
  const { core, log, quick, toldPages = maxToldPages } = context;
  const { manifest, files, geometry, base, digests, hasDigests, digestsGood, disks, usable } = claims;
  const { generation } = manifest;
  const { totalPages } = geometry;
  const isOverlay = manifest.base !== null;
  const add = (name: string, problem: string) => log.add({ path: pathIn(files, name), generation, problem });
  // Only needed to tell damaged digests from damaged contents.
  const isDoubtful = !digestsGood && !quick && (hasDigests || usable.has("ram.img"));
  const isTold = isDoubtful && totalPages <= toldPages;
  const cannotTell = isDoubtful && !isTold;
  if (cannotTell) log.note(files.path, notTold);
  const given = isTold ? context.digestMemory.take(totalPages * digestBytes) : null;
  if (given) await readAllDigests(digests, given);
  const canReplay = isOverlay && base !== null && !quick;
  const kept = canReplay && isTold ? await keepDigestsOf(core, base, totalPages) : null;
  const compared = canReplay && !isTold ? await compareDigestsOf(core, base, digests) : null;
  const replayed = kept ?? compared;
  const actual = isTold ? (kept?.digests.slice() ?? new Uint8Array(totalPages * digestBytes)) : null;
  const delta = isOverlay ? await replay(context, claims, replayed) : null;
  const said = isOverlay ? (delta ? delta.dirty : await rescueBitmap(core, files, geometry)) : null;
  if (quick) {
    if (hasDigests && !digestsGood && disks.haveTops) add("digests", problems.root);
    return { wrong: null, rightDigests: null, tops: claims.tops, dirty: said };
  }
  const dirty = isOverlay ? (delta?.dirty ?? noBits(geometry.totalPages)) : null;
  // Without digests, and too large for others to be made, there is nothing that its pages could be compared with.
  const image = cannotTell && !hasDigests ? null : await lookAtImage(context, claims, dirty, given, actual);
  const foundTops = actual !== null && image !== null ? topsFor(context, claims, actual) : null;
  const contentGood = foundTops !== null;
  const tops = claims.tops ?? foundTops;
  if (contentGood && actual && given && hasDigests) {
    reportPages(context, claims, "digests", bitsOf(differences(given, actual)), problems.digest, digestBytes);
  } else if (!contentGood && !digestsGood && disks.haveTops) {
    if (hasDigests) add("digests", problems.root);
    else add("ram.img", cannotTell ? problems.contentUnknown : problems.contentRoot);
  }
  if (image) {
    if (!contentGood && hasDigests)
      reportPages(context, claims, "ram.img", pagesIn(image.wrong), problems.content);
    reportPages(context, claims, "ram.img", pagesIn(image.leftover), problems.leftover);
  }
  const unlike =
    kept && given && (hasDigests || contentGood)
      ? differences(contentGood && actual ? actual : given, kept.digests)
      : hasDigests && compared
        ? compared.unlike
        : null;
  if (unlike && delta?.replayed && dirty) {
    reportPages(context, claims, "delta", pagesIn(unlike, dirty, true), problems.replay, 0);
    reportPages(context, claims, "digests", pagesIn(unlike, dirty, false), problems.noRecord, digestBytes);
  }
  const rightDigests = contentGood ? actual : null;
  if (image === null || !(digestsGood || contentGood) || (isOverlay && !delta?.dirty)) {
    return { wrong: null, rightDigests, tops, dirty: said };
  }
  const own = contentGood ? null : image.wrong;
  const wrong = dirty === null ? (own ?? "none") : throughChain(own, dirty, base, unlike);
  return { wrong, rightDigests, tops, dirty: said };
}

/** Replays the delta; `digests` (the base's) become the generation's. In quick mode only its structure counts. */
async function replay(
  context: CheckContext,
  claims: GenerationClaims,
  digests: ReplayedDigests | null,
): Promise<DeltaResult | null> {
  const { log, quick } = context;
  const { base, usable, files, manifest, disks } = claims;
  if (!usable.has("delta")) return null;
  const content = digests === null || quick || base === null ? null : openContent(base, claims);
  const onto: ReplayBase | null = content && digests ? { content, digests } : null;
  if (onto === null && !quick) {
    const problem = "the delta cannot be replayed: its base is missing or damaged";
    log.add({ path: pathIn(files, "delta"), generation: manifest.generation, problem });
  }
  const diskReplay = disks.replay(onto && base ? base.disks : null, claims.tops);
  try {
    const result = await checkDelta(context, claims, onto, diskReplay);
    return onto === null ? { ...result, replayed: false } : result;
  } finally {
    diskReplay.close();
    content?.close();
  }
}

function openContent(base: CheckedGeneration, { geometry }: GenerationClaims): ChainContent | null {
  const chain = chainOf(base);
  if (chain === null) return null;
  try {
    return new ChainContent(chain, geometry);
  } catch (error) {
    if (!isDamage(error)) throw error;
    return null;
  }
}

async function lookAtImage(
  context: CheckContext,
  claims: GenerationClaims,
  dirty: Uint8Array | null,
  given: Uint8Array | null,
  actual: Uint8Array | null,
): Promise<ImageResult | null> {
  const { files, manifest, geometry, usable } = claims;
  if (!usable.has("ram.img")) return null;
  const expected = given ? digestsInMemory(given) : claims.digests;
  const result: ImageResult = { wrong: null, leftover: null };
  const onPage: ImageVisitor["onPage"] = (page, verdict) => {
    result[verdict] ??= noBits(geometry.totalPages);
    setBit(result[verdict], page);
  };
  const about = { path: pathIn(files, "ram.img"), generation: manifest.generation };
  return await orFinding(context.log, about, () =>
    withInput(files, "ram.img", async (input) => {
      await checkImage(context, input, { expected, dirty, actual, onPage });
      return result;
    }),
  );
}

/** Tops of the disks with which page digests give the root; null if there are none. */
function topsFor(
  { core, key }: CheckContext,
  { manifest, geometry, disks }: GenerationClaims,
  actual: Uint8Array,
): readonly DiskTop[] | null {
  const { root, deviceDigest } = manifest;
  const pageTops = geometry.regions.map(({ firstPage, pages }) => {
    const stream = new DigestStream(core, key);
    try {
      stream.add(actual.subarray(firstPage * digestBytes, (firstPage + pages) * digestBytes));
      return stream.top();
    } finally {
      stream.release();
    }
  });
  const device = fromHex(deviceDigest);
  return disks.findTops((tops) => toHex(rootOver(core, key, geometry, pageTops, device, tops)) === root);
}

/** Wrong pages of the overlay, and of the base where the overlay does not answer. */
function throughChain(
  own: Uint8Array | null,
  dirty: Uint8Array,
  base: CheckedGeneration | null,
  unlikeBase: Uint8Array | null,
): WrongPages {
  if (!base?.wrong || unlikeBase === null) return null;
  const below = base.wrong === "none" ? null : base.wrong;
  let wrong = own;
  for (const [i, unlike] of unlikeBase.entries()) {
    const bits = ~dirty[i] & (unlike | (below?.[i] ?? 0));
    if (bits === 0) continue;
    wrong ??= new Uint8Array(unlikeBase.length);
    wrong[i] |= bits;
  }
  return wrong ?? "none";
}

/** Pages of a bitmap, ascending; with a mask those that are set, or clear, in it. */
function* pagesIn(
  bitmap: Uint8Array | null,
  mask: Uint8Array | null = null,
  isSet = true,
): Generator<number> {
  if (bitmap === null) return;
  for (const page of bitsOf(bitmap)) if (mask === null || bitOf(mask, page) === isSet) yield page;
}

function reportPages(
  { log }: CheckContext,
  { files, manifest, geometry }: GenerationClaims,
  name: string,
  pages: Iterable<number>,
  problem: string,
  bytesPerPage: number = pageBytes,
): void {
  const about = { path: pathIn(files, name), generation: manifest.generation };
  const findings = new PageFindings(log, geometry, about, problem, bytesPerPage);
  for (const page of pages) findings.add(page);
  findings.end();
}

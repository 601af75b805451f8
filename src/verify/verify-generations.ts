/** The offline verifier for whoever has a generation's files, wherever they are: in memory, in a browser, at a server. */

import type { Core } from "../core.ts";
import { FormatError } from "../errors.ts";
import { placeRegions } from "../generation/geometry.ts";
import { isSeed } from "../generation/manifest.ts";
import { bytesToRead, type ChainVerdict, checkChain, type FoundGeneration } from "./chain-check.ts";
import { orFinding } from "./damage.ts";
import { disksLeftOut } from "./disk-checks.ts";
import { filesOfInput, type GenerationInput, pathIn, readManifestOf } from "./generation-files.ts";
import { Pacing } from "./pacing.ts";
import { noBits } from "./page-bits.ts";
import { CorePageHasher, type PageHasher } from "./page-hashing.ts";
import { ProgressMeter } from "./progress-meter.ts";
import { FindingLog, type VerifyFinding, type VerifyNote, type VerifyProgress } from "./report.ts";

/** Options of `verifyGenerations`. */
export interface VerifyGenerationsOptions {
  /** The VM's digest key, 32 bytes. */
  readonly key: Uint8Array;
  /** Checks all but the contents of pages. */
  readonly quick?: boolean;
  /** Replays deltas also in a naive way, and compares. */
  readonly crossCheck?: boolean;
  /**
   * Pages of the largest generation of which damaged digests are told from damaged contents, which takes 64 bytes a page;
   * 2^20 (4 GiB of memory) by default.
   */
  readonly toldPages?: number;
  /** Makes the digests of images; without it the core does. */
  readonly hasher?: PageHasher;
  /** Called with each finding as it is made. */
  readonly onFinding?: (finding: VerifyFinding) => void;
  /** Called now and then with how far it is. */
  readonly onProgress?: (progress: VerifyProgress) => void;
  /** Stops the verification, which then throws the signal's reason. */
  readonly signal?: AbortSignal;
}

/** What was found of one generation. */
export interface GenerationVerdict {
  /** Its folder, as it was given. */
  readonly name: string;
  /** Its number; null if there is no readable manifest. */
  readonly generation: number | null;
  /** Root digest, 64 hexadecimal digits; null if there is no readable manifest. */
  readonly root: string | null;
  /** Nothing was found wrong with its own files, and its base is there. */
  readonly intact: boolean;
  /** A VM can be restarted from it: it is no seed, and its content and that of everything under it is what the root says. */
  readonly restorable: boolean;
  /** It is only there to be built on: it has no device state, and no VM is ever restarted from it. */
  readonly seed: boolean;
  /** Its RAM: where each region begins in the page space, and how many pages it has. */
  readonly regions: readonly { readonly name: string; readonly firstPage: number; readonly pages: number }[];
  /** Pages that changed since its base, one bit each (bit i & 7 of byte i >> 3); null if it is complete or this is not known. */
  readonly dirty: Uint8Array | null;
  /** Pages that are not what the root says, read through the chain; null if that is not known. */
  readonly wrong: Uint8Array | null;
}

/** What a verification says. */
export interface GenerationsReport {
  /** In the order of the inputs. */
  readonly generations: readonly GenerationVerdict[];
  readonly findings: readonly VerifyFinding[];
  readonly notes: readonly VerifyNote[];
}

/**
 * Verifies generations of one VM: a complete one, or all of a chain. What is wrong with them is in the report. Where a
 * generation has disks, they and its root are not checked, a note says so, and it does not count as restorable. Files are
 * read in windows; it takes 20 MiB, about 8 bits for each page of the largest generation, and 2 for each page of every generation.
 * Only where digests are damaged, and of a VM with up to 4 GiB of memory, it takes up to 64 bytes a page.
 * Throws RangeError if the key does not have 32 bytes, or the signal's reason. The core must not be used by others meanwhile.
 *
 * @example
 * const files = new Map([["manifest.json", accessBlob(manifest)], ["ram.img", accessBlob(image)],
 *   ["digests", accessBlob(digests)], ["device", accessBlob(device)]]);
 * const { findings } = await verifyGenerations(await loadCore(), [{ name: "1", files }], { key });
 */
export async function verifyGenerations(
  core: Core,
  inputs: readonly GenerationInput[],
  options: VerifyGenerationsOptions,
): Promise<GenerationsReport> {
  const { key, quick = false, crossCheck = false, onFinding, onProgress = () => {}, signal } = options;
  if (key.length !== 32) throw new RangeError(`Cannot use key: ${key.length} bytes, 32 expected`);
  const log = new FindingLog(onFinding);
  const found = await findGenerations(core, log, inputs);
  const own = options.hasher ? null : new CorePageHasher(core);
  const hasher = options.hasher ?? (own as PageHasher);
  const context = {
    core,
    log,
    key,
    hasher,
    disks: disksLeftOut,
    quick,
    toldPages: options.toldPages,
    crossCheck,
    pacing: new Pacing(signal),
  };
  const readable = [...found.values()];
  const total = bytesToRead(
    readable.map(({ manifest }) => manifest),
    quick,
  );
  const meter = new ProgressMeter(readable[0]?.manifest?.vm ?? "", () => total, onProgress);
  try {
    const verdicts = await checkChain(context, readable, (generation, bytes) => meter.add(generation, bytes));
    const generations = inputs.map((input) => {
      const one = found.get(input);
      const verdict = verdicts.find(({ files }) => one !== undefined && files === one.files);
      return describe(input, verdict);
    });
    return { generations, findings: log.findings, notes: log.notes };
  } finally {
    own?.release();
  }
}

/** Those whose manifest can be read, each number once, all of the first one's VM. */
async function findGenerations(
  core: Core,
  log: FindingLog,
  inputs: readonly GenerationInput[],
): Promise<Map<GenerationInput, FoundGeneration>> {
  const found = new Map<GenerationInput, FoundGeneration>();
  let vm: string | null = null;
  for (const input of inputs) {
    const files = filesOfInput(input);
    await orFinding(log, { path: pathIn(files, "manifest.json") }, async () => {
      const manifest = await readManifestOf(core, files);
      const { generation } = manifest;
      vm ??= manifest.vm;
      if (manifest.vm !== vm) {
        throw new FormatError(
          "mismatch",
          `it is of generation ${generation} of ${manifest.vm}, not of ${vm}`,
        );
      }
      const twin = [...found].find(([, other]) => other.generation === generation)?.[0];
      if (twin)
        throw new FormatError("mismatch", `it is of generation ${generation}, as that of ${twin.name} is`);
      found.set(input, { generation, files, manifest });
    });
  }
  return found;
}

function describe({ name }: GenerationInput, verdict: ChainVerdict | undefined): GenerationVerdict {
  const { manifest = null, checked = null, intact = false, restorable = false } = verdict ?? {};
  const { regions, totalPages } = manifest ? placeRegions(manifest.regions) : { regions: [], totalPages: 0 };
  return {
    name,
    generation: manifest?.generation ?? null,
    root: manifest?.root ?? null,
    intact,
    restorable,
    seed: manifest !== null && isSeed(manifest),
    regions: regions.map(({ name: region, firstPage, pages }) => ({ name: region, firstPage, pages })),
    dirty: checked?.dirty ?? null,
    wrong: checked?.wrong === "none" ? noBits(totalPages) : (checked?.wrong ?? null),
  };
}
